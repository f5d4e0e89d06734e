//! A request as the filter sees it, made of what a command line says.

use crate::Failure;

/// A request and its token, as on a command line.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Method and target: a path, or a URL.
    pub line: &'a str,
    /// The headers, each as `name: value`.
    pub headers: &'a [String],
    /// A token that goes into `authorization`, unless the request has it elsewhere.
    pub token: Option<&'a str>,
}

/// The headers that the filter gets from Envoy, names in lower case.
pub(super) type HeaderList = Vec<(String, String)>;

impl Request<'_> {
    /// The request's headers, with pseudo-headers.
    pub(super) fn headers(&self) -> Result<HeaderList, Failure> {
        let mut list = pseudo_headers(self.line)?;
        for header in self.headers {
            // The colon of a pseudo-header does not end its name.
            let end = header.char_indices().skip(1).find(|(_, c)| *c == ':').map(|(end, _)| end);
            let (name, value) = end
                .and_then(|end| Some((header.get(..end)?, header.get(end.checked_add(1)?..)?)))
                .ok_or_else(|| format!("--header {header:?}: expected `name: value`"))?;
            set(&mut list, &name.trim().to_ascii_lowercase(), value.trim_matches([' ', '\t']));
        }
        if let Some((_, scheme)) = list.iter().find(|(name, _)| name == ":scheme") {
            let scheme = scheme.clone();
            if !list.iter().any(|(name, _)| name == "x-forwarded-proto") {
                list.push(("x-forwarded-proto".to_owned(), scheme));
            }
        }
        if let Some(token) = self.token.filter(|token| !list.iter().any(|(_, value)| value.contains(token))) {
            set(&mut list, "authorization", &format!("Bearer {token}"));
        }
        Ok(list)
    }
}

/// Adds a header as Envoy does: `host` is `:authority`, one value of a pseudo-header remains, and values of `authorization` are
/// joined.
fn set(list: &mut HeaderList, name: &str, value: &str) {
    let name = if name == "host" { ":authority" } else { name };
    match list.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) if name.starts_with(':') => value.clone_into(known),
        Some((_, known)) if name == "authorization" => {
            known.push(',');
            known.push_str(value);
        }
        _ => list.push((name.to_owned(), value.to_owned())),
    }
}

fn pseudo_headers(line: &str) -> Result<HeaderList, Failure> {
    let expected = || "--request: expected a method and a path or URL, as `GET /api`".to_owned();
    let (method, target) = line.trim().split_once(' ').ok_or_else(expected)?;
    let target = target.trim_start();
    let list = |parts: &[(&str, &str)]| {
        let parts = [(":method", method)].into_iter().chain(parts.iter().copied());
        parts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<HeaderList>()
    };
    if method == "CONNECT" {
        return Ok(list(&[(":authority", target)]));
    }
    let Some((scheme, rest)) = target.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme)) else {
        return match target.starts_with('/') || target == "*" {
            true => Ok(list(&[(":path", target), (":scheme", "https"), (":authority", "example.com")])),
            false => Err(expected()),
        };
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(list(&[(":path", &path), (":scheme", scheme), (":authority", authority)]))
}

/// The token of what a user copied: a token, a header `Authorization` with a token, or its value. `None`: there is no token.
pub(super) fn token_of(text: &str) -> Option<String> {
    let text = text.trim().trim_matches(['"', '\'']).trim();
    let text = strip_word(text, "authorization:").unwrap_or(text);
    // A token has no blanks; a terminal or an encoder may have broken its lines.
    let token: String = strip_word(text, "bearer ").unwrap_or(text).split_whitespace().collect();
    let is_none = token.is_empty() || token.eq_ignore_ascii_case("bearer");
    (!is_none).then_some(token)
}

/// What follows a word in any case.
fn strip_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(word.len())?;
    start.eq_ignore_ascii_case(word).then(|| rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(line: &str, headers: &[&str], token: Option<&str>) -> HeaderList {
        let headers: Vec<_> = headers.iter().map(|header| (*header).to_owned()).collect();
        Request { line, headers: &headers, token }.headers().unwrap()
    }

    fn value<'l>(list: &'l HeaderList, name: &str) -> Vec<&'l str> {
        list.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    #[test]
    fn a_request_is_made_of_a_path_or_of_a_url() {
        let of_path = headers("GET /a?b", &["Host: api.test", "X-A:  1 "], None);
        assert_eq!(value(&of_path, ":authority"), ["api.test"]);
        assert_eq!((value(&of_path, ":path"), value(&of_path, "x-a")), (vec!["/a?b"], vec!["1"]));
        assert_eq!(value(&of_path, "host"), [""; 0]);
        let of_url = headers("POST http://api.test:80?b", &[], None);
        assert_eq!((value(&of_url, ":authority"), value(&of_url, ":path")), (vec!["api.test:80"], vec!["/?b"]));
        assert_eq!((value(&of_url, ":scheme"), value(&of_url, "x-forwarded-proto")), (vec!["http"], vec!["http"]));
        assert_eq!(value(&headers("GET /", &[":scheme: http"], None), ":scheme"), ["http"]);
        let connect = headers("CONNECT api.test:443", &[], None);
        assert_eq!((value(&connect, ":authority"), value(&connect, ":path")), (vec!["api.test:443"], vec![]));
        for wrong in ["/a", "GET a", "GET", ""] {
            assert!(Request { line: wrong, headers: &[], token: None }.headers().is_err(), "{wrong}");
        }
        for wrong in ["x", ":path", ""] {
            let wrong = [wrong.to_owned()];
            assert!(Request { line: "GET /", headers: &wrong, token: None }.headers().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn repeated_headers_are_as_in_envoy() {
        let headers = headers("GET /", &["authorization: a", "x: 1", "Authorization: b", "x: 2"], None);
        assert_eq!((value(&headers, "authorization"), value(&headers, "x")), (vec!["a,b"], vec!["1", "2"]));
    }

    #[test]
    fn a_token_goes_into_authorization_unless_it_is_in_the_request() {
        assert_eq!(value(&headers("GET /", &[], Some("a.b.c")), "authorization"), ["Bearer a.b.c"]);
        for (line, header) in [("GET /?t=a.b.c", "x: y"), ("GET /", "x-jwt: a.b.c")] {
            assert_eq!(value(&headers(line, &[header], Some("a.b.c")), "authorization"), [""; 0]);
        }
    }

    #[test]
    fn a_token_is_read_as_users_copy_it() {
        for text in [
            "a.b.c",
            "a.b.c\n",
            "Bearer a.b.c",
            "bearer  a.b.c\r\n",
            "Authorization: Bearer a.b.c",
            "'authorization:bearer a.b.c'",
            "\"a.b.c\"",
            "a.b\n.c",
        ] {
            assert_eq!(token_of(text).as_deref(), Some("a.b.c"), "{text}");
        }
        for text in ["", "\n", "Bearer ", "Bearer", "authorization:"] {
            assert_eq!(token_of(text), None, "{text}");
        }
    }
}
