//! What the work costs without a runtime for tasks: floors to be seen beside the others, not peers. Each of them has the few
//! workloads that it can do.

pub mod bare;
pub mod rayon;
