//! YAML and JSON with the place of each value in the text.

use std::ops::Range;

use jwks_gate::config::camel_case;
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::{Map, Number, Value};

/// A value, and the bytes of the text from which the value was read.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) value: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// `null`, a boolean or a number.
    Plain(Value),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Member>),
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// The bytes of the name.
    pub(crate) span: Range<usize>,
    pub(crate) node: Node,
}

/// Why a text is neither YAML nor JSON.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) reason: String,
    pub(crate) span: Range<usize>,
}

/// Reads the documents of a text.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let byte = |index: usize| offsets.get(index).copied().unwrap_or(text.len());
    match MarkedYaml::load_from_str(text) {
        Ok(documents) => Ok(documents.iter().map(|document| read(document, &byte)).collect()),
        Err(error) => {
            let at = byte(error.marker().index());
            Err(SyntaxError { reason: error.info().to_owned(), span: at..at })
        }
    }
}

fn read(yaml: &MarkedYaml<'_>, byte: &impl Fn(usize) -> usize) -> Node {
    let span = |yaml: &MarkedYaml<'_>| byte(yaml.span.start.index())..byte(yaml.span.end.index());
    let value = match &yaml.data {
        YamlData::Value(Scalar::String(text)) => Content::Text(text.to_string()),
        YamlData::Value(Scalar::Boolean(flag)) => Content::Plain(Value::Bool(*flag)),
        YamlData::Value(Scalar::Integer(number)) => Content::Plain(Value::from(*number)),
        YamlData::Value(Scalar::FloatingPoint(number)) => {
            Content::Plain(Number::from_f64(number.0).map_or(Value::Null, Value::Number))
        }
        YamlData::Sequence(items) => Content::List(items.iter().map(|item| read(item, byte)).collect()),
        YamlData::Mapping(members) => Content::Map(
            members
                .iter()
                .map(|(name, node)| Member { name: name_of(name), span: span(name), node: read(node, byte) })
                .collect(),
        ),
        YamlData::Tagged(_, inner) => return read(inner, byte),
        _ => Content::Plain(Value::Null),
    };
    Node { span: span(yaml), value }
}

/// A key of a mapping as JSON writes the key.
fn name_of(key: &MarkedYaml<'_>) -> String {
    match &key.data {
        YamlData::Value(Scalar::String(text)) => text.to_string(),
        YamlData::Value(Scalar::Boolean(flag)) => flag.to_string(),
        YamlData::Value(Scalar::Integer(number)) => number.to_string(),
        YamlData::Value(Scalar::FloatingPoint(number)) => number.0.to_string(),
        _ => String::new(),
    }
}

impl Node {
    /// The members; none if this is no object.
    pub(crate) fn members(&self) -> &[Member] {
        match &self.value {
            Content::Map(members) => members,
            _ => &[],
        }
    }

    /// The items; none if this is no list.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Content::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn flag(&self) -> Option<bool> {
        match &self.value {
            Content::Plain(value) => value.as_bool(),
            _ => None,
        }
    }

    /// The member of this name, in snake_case or camelCase.
    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members().iter().find(|member| is_field(&member.name, name))
    }

    /// The value of this member; absent if `null`.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        let node = self.member(name).map(|member| &member.node)?;
        (!matches!(node.value, Content::Plain(Value::Null))).then_some(node)
    }

    /// The value within these members.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    pub(crate) fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.text()
    }

    /// The texts of a list. A text alone is a list of one, as for Envoy.
    pub(crate) fn texts(&self) -> Vec<&str> {
        match self.text() {
            Some("") => Vec::new(),
            Some(text) => vec![text],
            None => self.items().iter().filter_map(Node::text).collect(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        match &self.value {
            Content::Plain(value) => value.clone(),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => items.iter().map(Node::to_json).collect(),
            Content::Map(members) => {
                let members = members.iter().map(|member| (member.name.clone(), member.node.to_json()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }

    /// Where the field of this path is, such as `rules[3].match` or `providers.a.b.issuer`, or else the innermost value around
    /// the field.
    pub(crate) fn locate(&self, path: &str) -> Range<usize> {
        if let Some((index, rest)) = path.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let item = index.parse().ok().and_then(|index: usize| self.items().get(index));
            return item.map_or(self.head(), |item| item.locate(rest.strip_prefix('.').unwrap_or(rest)));
        }
        // A name may contain dots: the longest name that fits is meant.
        let rest_after = |member: &Member| {
            let len = path.find(['[', '.']).unwrap_or(path.len());
            let named =
                [path.strip_prefix(member.name.as_str())]
                    .into_iter()
                    .chain([is_field(&member.name, &path[..len]).then(|| &path[len..])]);
            named.flatten().filter(|rest| rest.is_empty() || rest.starts_with(['.', '['])).map(str::len).min()
        };
        let found = self.members().iter().filter_map(|member| Some((rest_after(member)?, member)));
        match found.min_by_key(|(rest, _)| *rest) {
            Some((0, member)) => match &member.node.value {
                Content::Plain(_) | Content::Text(_) => member.node.span.clone(),
                _ => member.span.clone(),
            },
            Some((rest, member)) => {
                let rest = &path[path.len() - rest..];
                let inner = member.node.locate(rest.strip_prefix('.').unwrap_or(rest));
                // The first item of a list begins where the list begins.
                if inner == member.node.head() && !rest.starts_with('[') {
                    member.span.clone()
                } else {
                    inner
                }
            }
            None => self.head(),
        }
    }

    /// The first byte: the whole span of an object may be many lines.
    fn head(&self) -> Range<usize> {
        self.span.start..self.span.start
    }

    fn moved(mut self, place: &impl Fn(Range<usize>) -> Range<usize>) -> Self {
        self.span = place(self.span);
        self.value = match self.value {
            Content::List(items) => Content::List(items.into_iter().map(|item| item.moved(place)).collect()),
            Content::Map(members) => Content::Map(
                members
                    .into_iter()
                    .map(|Member { name, span, node }| Member { name, span: place(span), node: node.moved(place) })
                    .collect(),
            ),
            other => other,
        };
        self
    }

    /// The JSON that this text contains, such as in a `google.protobuf.StringValue`; `None` if this is no text. `source` is the
    /// text of the file. Within a block scalar each value has its own place; elsewhere each value is at the place of the whole text.
    pub(crate) fn embedded_json(&self, source: &str) -> Option<Result<Node, SyntaxError>> {
        let text = self.text()?;
        let lines = block_lines(source, self.span.start, text);
        let place = |span: Range<usize>| match &lines {
            Some(lines) => place(lines, text, span.start)..place(lines, text, span.end),
            None => self.span.clone(),
        };
        // YAML that is not JSON is no configuration.
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
            let line_start: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
            let at = line_start + error.column().saturating_sub(1);
            // The position in the text is of no use: the span says where in the file.
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
            return Some(Err(SyntaxError { reason, span: place(at..at) }));
        }
        Some(match parse(text) {
            Ok(documents) => Ok(documents.into_iter().next()?.moved(&place)),
            Err(SyntaxError { reason, span }) => Err(SyntaxError { reason, span: place(span) }),
        })
    }
}

/// Where each line of a block scalar begins in the file, behind the indentation. `None`: the text is no block scalar.
fn block_lines(source: &str, start: usize, text: &str) -> Option<Vec<usize>> {
    let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
    let mut lines = Vec::new();
    let (mut wanted, mut at) = (text.lines().peekable(), line_start);
    for line in source[line_start..].split_inclusive('\n') {
        let Some(next) = wanted.peek() else { break };
        let content = line.trim_end();
        if content.ends_with(next.trim_end()) && content.trim_start().len() <= next.trim_end().len() {
            lines.push(at + content.len() - next.trim_end().len());
            wanted.next();
        } else if !lines.is_empty() {
            return None;
        }
        at += line.len();
    }
    wanted.peek().is_none().then_some(lines)
}

fn place(lines: &[usize], text: &str, at: usize) -> usize {
    let before = &text[..at.min(text.len())];
    let line = before.matches('\n').count();
    let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
    let last = lines.last().copied().unwrap_or_default();
    lines.get(line).copied().unwrap_or(last) + column
}

/// Whether a member's name is this field, in snake_case or camelCase.
fn is_field(name: &str, field: &str) -> bool {
    name == field || camel_case(field) == name
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "providers:\n  a.b: { issuer: x }\nrules:\n- match: {prefix: /}\n";

    fn shown(node: &Node, text: &str, path: &str) -> (usize, String) {
        let span = node.locate(path);
        (text[..span.start].matches('\n').count() + 1, text[span].to_owned())
    }

    #[test]
    fn paths_lead_to_values() {
        let node = parse(TEXT).unwrap().remove(0);
        assert_eq!(shown(&node, TEXT, "providers.a.b.issuer"), (2, "x".into()));
        assert_eq!(shown(&node, TEXT, "rules[0].match.prefix"), (4, "/".into()));
        assert_eq!(shown(&node, TEXT, "rules[0].match"), (4, "match".into()));
        assert_eq!(
            shown(&node, TEXT, "providers.a.b.remote_jwks"),
            (2, "a.b".into()),
            "what is missing is in the provider"
        );
    }

    #[test]
    fn json_in_a_block_keeps_its_lines() {
        let text =
            "config:\n  value: |\n    {\n      \"providers\": {\n        \"p\": {\"issuer\": 7}\n      }\n    }\n";
        let outer = parse(text).unwrap().remove(0);
        let inner = outer.at(&["config", "value"]).unwrap().embedded_json(text).unwrap().unwrap();
        assert_eq!(shown(&inner, text, "providers.p.issuer"), (5, "7".into()));
        let quoted = "value: '{\"a\": 1}'\n";
        let outer = parse(quoted).unwrap().remove(0);
        let inner = outer.get("value").unwrap().embedded_json(quoted).unwrap().unwrap();
        assert_eq!(shown(&inner, quoted, "a").0, 1);
    }

    #[test]
    fn both_spellings_are_found() {
        let node = parse("remoteJwks: {httpUri: {uri: u}}").unwrap().remove(0);
        assert_eq!(node.text_at(&["remote_jwks", "http_uri", "uri"]), Some("u"));
    }
}
