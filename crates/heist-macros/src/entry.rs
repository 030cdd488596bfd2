//! Parses an annotated `async fn` and its options, and writes the function that runs it.
//!
//! The user's function stays as it is, one level deeper, so that types are inferred and errors are shown as
//! without the attribute:
//!
//! ```text
//! #[heist::main]                     fn main() -> R {
//! async fn main() -> R { … }   ──►       async fn main() -> R { … }
//!                                        ::heist::__macros::main(main(), options)
//!                                    }
//! ```
//!
//! Whatever is wrong becomes a `compile_error!` at the token that is wrong, beside a function with the same
//! signature, so that one mistake gives one message.

use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, ItemFn, Lit, Path, Result, ReturnType, Token};

/// Which of the two attributes is expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Main,
    Test,
}

/// Expands one attribute. Never panics: a mistake becomes a `compile_error!` in the result.
pub(crate) fn expand(kind: Kind, options: TokenStream, item: TokenStream) -> TokenStream {
    let function: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => return beside(&error, &item),
    };
    match check(kind, &function).and_then(|()| Options::parse(kind, options)) {
        Ok(options) => emit(kind, &options, &function),
        Err(error) => beside(&error, &without_body(kind, function)),
    }
}

fn emit(kind: Kind, options: &Options, function: &ItemFn) -> TokenStream {
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
    } = function;
    let (name, output) = (&sig.ident, &sig.output);
    let root = options.root();
    let setup = options.setup(&root);
    let inner = quote!(async fn #name() #output #block);
    match kind {
        Kind::Main => quote! {
            #(#attrs)*
            #vis fn #name() #output {
                #inner
                #root::__macros::main(#setup, #name())
            }
        },
        Kind::Test => {
            // `#[should_panic]` asks for a function that returns nothing. Without an output there is one code only.
            let (result, begin, end) = match output {
                ReturnType::Default => (quote!(), quote!(let _ =), quote!(;)),
                ReturnType::Type(..) => (quote!(-> ::std::process::ExitCode), quote!(), quote!()),
            };
            quote! {
                #[::core::prelude::v1::test]
                #(#attrs)*
                #vis fn #name() #result {
                    #inner
                    #begin #root::__macros::test(
                        ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
                        #setup,
                        #name,
                    ) #end
                }
            }
        }
    }
}

fn check(kind: Kind, function: &ItemFn) -> Result<()> {
    let sig = &function.sig;
    let attribute = kind.attribute();
    if sig.asyncness.is_none() {
        let message = format!("`{attribute}` is for an `async fn`: write `async` here");
        return Err(Error::new(sig.fn_token.span, message));
    }
    if !sig.inputs.is_empty() {
        let message = format!("the function under `{attribute}` takes no arguments");
        return Err(Error::new_spanned(&sig.inputs, message));
    }
    if !sig.generics.params.is_empty() {
        let message = format!("the function under `{attribute}` cannot be generic");
        return Err(Error::new_spanned(&sig.generics, message));
    }
    let twice = |attr: &&syn::Attribute| attr.path().is_ident("test");
    if let (Kind::Test, Some(attr)) = (kind, function.attrs.iter().find(twice)) {
        let message = "`#[heist::test]` makes this a test already: remove `#[test]`";
        return Err(Error::new_spanned(attr, message));
    }
    Ok(())
}

/// The function with its signature made plain and no use of its body: what callers see after a mistake.
fn without_body(kind: Kind, function: ItemFn) -> TokenStream {
    let ItemFn {
        attrs,
        vis,
        mut sig,
        ..
    } = function;
    sig.asyncness = None;
    if kind == Kind::Main {
        sig.inputs.clear();
        sig.generics = syn::Generics::default();
    }
    quote! {
        #(#attrs)*
        #[allow(unused)]
        #vis #sig { ::core::unreachable!() }
    }
}

fn beside(error: &Error, item: &TokenStream) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#error #item)
}

impl Kind {
    fn attribute(self) -> &'static str {
        match self {
            Self::Main => "#[heist::main]",
            Self::Test => "#[heist::test]",
        }
    }

    fn options(self) -> &'static str {
        match self {
            Self::Main => "`worker_threads`, `local`, `crate`",
            Self::Test => "`worker_threads`, `timeout`, `local`, `virtual_time`, `crate`",
        }
    }
}

/// What stands in the parentheses of the attribute.
#[derive(Default)]
struct Options {
    worker_threads: Option<(usize, Span)>,
    timeout: Option<Duration>,
    local: bool,
    virtual_time: bool,
    krate: Option<Path>,
}

impl Options {
    fn parse(kind: Kind, tokens: TokenStream) -> Result<Self> {
        let list = Punctuated::<Setting, Token![,]>::parse_terminated.parse2(tokens)?;
        let mut options = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for setting in list {
            let name = setting.name.to_string();
            if seen.contains(&name) {
                let message = format!("`{name}` stands here twice");
                return Err(Error::new_spanned(&setting.name, message));
            }
            options.apply(kind, &name, setting)?;
            seen.push(name);
        }
        options.agree()
    }

    fn apply(&mut self, kind: Kind, name: &str, setting: Setting) -> Result<()> {
        match (name, kind) {
            ("worker_threads", _) => self.worker_threads = Some(worker_threads(setting.value()?)?),
            ("timeout", Kind::Test) => self.timeout = Some(timeout(setting.value()?)?),
            ("local", _) => self.local = setting.flag()?,
            ("virtual_time", Kind::Test) => self.virtual_time = setting.flag()?,
            ("crate", _) => self.krate = Some(krate(setting.value()?)?),
            ("timeout", Kind::Main) => {
                let message = "a program has no time limit: `timeout` is for `#[heist::test]`";
                return Err(Error::new_spanned(&setting.name, message));
            }
            _ => {
                let attribute = kind.attribute();
                let message = format!(
                    "`{attribute}` has no option `{name}`; it has {}",
                    kind.options()
                );
                return Err(Error::new_spanned(&setting.name, message));
            }
        }
        Ok(())
    }

    fn agree(self) -> Result<Self> {
        match &self.worker_threads {
            Some((_, span)) if self.local => {
                let message =
                    "a `local` runtime has one thread: remove `worker_threads` or `local`";
                Err(Error::new(*span, message))
            }
            _ => Ok(self),
        }
    }

    /// The path below which the emitted code finds the facade.
    fn root(&self) -> TokenStream {
        self.krate
            .as_ref()
            .map_or_else(|| quote!(::heist), ToTokens::to_token_stream)
    }

    /// An expression of the type `heist::__macros::Setup`.
    fn setup(&self, root: &TokenStream) -> TokenStream {
        let workers = self
            .worker_threads
            .map(|(number, _)| quote!(.worker_threads(#number)));
        let limit = self.timeout.map(|limit| {
            let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
            quote!(.timeout(::core::time::Duration::from_nanos(#nanos)))
        });
        let local = self.local.then(|| quote!(.local()));
        let time = self.virtual_time.then(|| quote!(.virtual_time()));
        quote!(#root::__macros::Setup::new() #workers #limit #local #time)
    }
}

/// `name`, or `name = value`.
struct Setting {
    name: Ident,
    value: Option<Lit>,
}

impl Parse for Setting {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        // `crate` is a keyword: an identifier of any kind is taken here.
        let name = input.call(<Ident as syn::ext::IdentExt>::parse_any)?;
        let value = match input.parse::<Option<Token![=]>>()? {
            None => None,
            Some(_) => Some(input.parse().map_err(|error| {
                Error::new(
                    error.span(),
                    format!("`{name}` takes a literal: a number or a text"),
                )
            })?),
        };
        Ok(Self { name, value })
    }
}

impl Setting {
    fn value(self) -> Result<Lit> {
        let message = format!("`{0}` needs a value: `{0} = …`", self.name);
        self.value
            .ok_or_else(|| Error::new_spanned(self.name, message))
    }

    fn flag(self) -> Result<bool> {
        match self.value {
            None => Ok(true),
            Some(Lit::Bool(value)) => Ok(value.value),
            Some(other) => {
                let message = format!("`{}` stands alone, or is `true` or `false`", self.name);
                Err(Error::new_spanned(other, message))
            }
        }
    }
}

fn worker_threads(value: Lit) -> Result<(usize, Span)> {
    let Lit::Int(number) = &value else {
        return Err(Error::new_spanned(
            value,
            "`worker_threads` is a number, from 1 to 1024",
        ));
    };
    match number.base10_parse() {
        Ok(count @ 1..=1024) => Ok((count, number.span())),
        _ => Err(Error::new_spanned(
            number,
            "`worker_threads` goes from 1 to 1024",
        )),
    }
}

fn krate(value: Lit) -> Result<Path> {
    let Lit::Str(text) = &value else {
        return Err(Error::new_spanned(
            value,
            "`crate` is a path in quotes, such as \"::other_name\"",
        ));
    };
    let message = "`crate` is a path in quotes, such as \"::other_name\"";
    text.parse_with(Path::parse_mod_style)
        .map_err(|_| Error::new_spanned(text, message))
}

fn timeout(value: Lit) -> Result<Duration> {
    let limit = match &value {
        Lit::Int(number) => number.base10_parse().ok().map(Duration::from_secs),
        Lit::Float(number) => number.base10_parse().ok().and_then(seconds),
        Lit::Str(text) => duration(&text.value()),
        _ => None,
    };
    let message = "`timeout` is a time above zero: seconds as a number, or a text such as \"500ms\", \"10s\", \"2m\"";
    limit
        .filter(|limit| !limit.is_zero())
        .ok_or_else(|| Error::new_spanned(value, message))
}

/// Reads `500ms`, `10s`, `1.5s`, `2m`; a bare number counts seconds.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    match unit.trim() {
        "ms" => seconds(number / 1e3),
        "" | "s" => seconds(number),
        "m" | "min" => seconds(number * 60.0),
        _ => None,
    }
}

fn seconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(kind: Kind, options: &str, item: &str) -> String {
        expand(kind, options.parse().unwrap(), item.parse().unwrap()).to_string()
    }

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Some(Duration::from_secs(10)));
        assert_eq!(duration("1.5 s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("7"), Some(Duration::from_secs(7)));
        assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
        for bad in ["", "s", "ten", "10h", "-1s", "1.2.3s"] {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn main_calls_the_facade() {
        let code = expanded(
            Kind::Main,
            "worker_threads = 3",
            "async fn main() -> u8 { 7 }",
        );
        assert!(code.contains(":: heist :: __macros :: main"), "{code}");
        assert!(code.contains("worker_threads (3usize)"), "{code}");
        assert!(code.contains("async fn main () -> u8 { 7 }"), "{code}");
    }

    #[test]
    fn a_renamed_crate_is_followed() {
        let code = expanded(
            Kind::Test,
            "crate = \"my::rt\", timeout = \"10s\"",
            "async fn works() {}",
        );
        assert!(code.contains("my :: rt :: __macros :: test"), "{code}");
        assert!(code.contains("10000000000u64"), "{code}");
        assert!(!code.contains(":: heist"), "{code}");
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let cases = [
            (Kind::Main, "", "fn main() {}", "write `async` here"),
            (
                Kind::Main,
                "",
                "async fn main(x: u8) {}",
                "takes no arguments",
            ),
            (Kind::Main, "", "async fn main<T>() {}", "cannot be generic"),
            (
                Kind::Main,
                "timeout = 3",
                "async fn main() {}",
                "a program has no time limit",
            ),
            (
                Kind::Main,
                "threads = 3",
                "async fn main() {}",
                "has no option `threads`",
            ),
            (
                Kind::Main,
                "worker_threads",
                "async fn main() {}",
                "needs a value",
            ),
            (
                Kind::Main,
                "worker_threads = 0",
                "async fn main() {}",
                "goes from 1 to 1024",
            ),
            (
                Kind::Main,
                "worker_threads = \"2\"",
                "async fn main() {}",
                "is a number",
            ),
            (
                Kind::Main,
                "worker_threads = 2, worker_threads = 2",
                "async fn main() {}",
                "twice",
            ),
            (
                Kind::Main,
                "worker_threads = 2, local",
                "async fn main() {}",
                "one thread",
            ),
            (
                Kind::Main,
                "local = 3",
                "async fn main() {}",
                "stands alone",
            ),
            (
                Kind::Main,
                "crate = 3",
                "async fn main() {}",
                "a path in quotes",
            ),
            (
                Kind::Main,
                "crate = \"a b\"",
                "async fn main() {}",
                "a path in quotes",
            ),
            (
                Kind::Test,
                "timeout = \"soon\"",
                "async fn t() {}",
                "a time above zero",
            ),
            (
                Kind::Test,
                "timeout = 0",
                "async fn t() {}",
                "a time above zero",
            ),
            (Kind::Test, "", "#[test] async fn t() {}", "a test already"),
        ];
        for (kind, options, item, message) in cases {
            let code = expanded(kind, options, item);
            assert!(code.contains("compile_error"), "{options} {item}: {code}");
            assert!(code.contains(message), "{options} {item}: {code}");
        }
    }
}
