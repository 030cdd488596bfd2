//! The links of a page. As simple as it can be: what is in `href="…"`, if it is a whole `http` address or begins with a slash.

use hyper::Uri;

/// The links in a text that lead to the same host.
pub(crate) fn find(page: &Uri, text: &str) -> Vec<Uri> {
    text.split("href=\"")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('"')?.0))
        .filter_map(|link| resolve(page, link))
        .collect()
}

/// Where a link leads to, if it leads to the same host: nobody crawls the world by mistake.
pub(crate) fn resolve(page: &Uri, link: &str) -> Option<Uri> {
    let link = link.split('#').next().unwrap_or_default();
    if link.starts_with('/') && !link.starts_with("//") {
        let mut parts = page.clone().into_parts();
        parts.path_and_query = Some(link.parse().ok()?);
        return Uri::from_parts(parts).ok();
    }
    let url: Uri = link.parse().ok()?;
    let same = url.host()?.eq_ignore_ascii_case(page.host()?);
    (same && url.scheme_str() == Some("http")).then_some(url)
}
