#[heist::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let answer: i32 = heist::spawn(async { "42".parse() }).await??;
    assert_eq!(answer, 42);
    Ok(())
}
