//! How rows are written.
//!
//! A row is `tree => expectation`. The leaves of a tree are [`State`]s. Each leaf is a provider with one token in that state;
//! leaves are numbered from the left, and the number is the provider, the token and the permit.
//!
//! | notation | meaning |
//! |---|---|
//! | `any![Good, Expired]` | `requires_any` |
//! | `any![Good, Expired; missing]` | `requires_any` with an `allow_missing` child |
//! | `any![Good, Expired; missing_or_failed]` | `requires_any` with an `allow_missing_or_failed` child |
//! | `all![Good, Expired]` | `requires_all` |
//! | `tokens![Good, Expired]` | one provider that found two tokens; takes two numbers |
//! | `allow_missing![Good, Expired]` | `allow_missing` of a request with these tokens, each under the policy of its issuer |
//! | `allow_missing_or_failed![Good]` | `allow_missing_or_failed`, likewise |
//! | `extract_only![Good]` | `extract_only_without_validation`, likewise |
//! | `nothing()` | no requirement |
//! | `foreign()` | the tokens of the request are of no configured issuer, and that is allowed |
//!
//! | expectation | meaning |
//! |---|---|
//! | `allow([0, 2])` | allowed, with exactly these permits |
//! | `wait([1])` | waits for the fetches of exactly these tokens |
//! | `deny(Expired)` | denied, and the denial of a token in this state is told |
//! | `….checks([0, 1])` | exactly these tokens are checked, in this order |
//! | `….invalid()` | the upstream is told of an invalid token; without this, it is not |

use std::{sync::LazyLock, time::Duration};

use super::{
    super::{evaluate, Outcome, TokenCheck, Verdict},
    reference::{reference, Truth},
};
use crate::{
    ids::ProviderId,
    keys::{Algorithm, Key, KeySet},
    policy::{
        permit::{NoAuthRequired, Permit},
        reply::Denial,
        requirement::{resolved::Node, Fallback, OnInvalid, TokenPolicyRef, SIGNATURE_VERIFIED},
    },
    rotation::transition::Cause,
    time::UnixTime,
    token::{
        jws::Jws,
        signature::{BadSignature, SignatureCheck},
        validation::TokenPolicy,
        verify::{verify, Verified},
        TokenError,
    },
};

/// The state of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The token is verified.
    Good,
    /// The token is bad: expired.
    Expired,
    /// The token is bad: for another audience.
    OtherAudience,
    /// The token is of another issuer than the provider's, which its check says.
    OtherIssuer,
    /// No provider accepts the issuer, which is known without a check.
    Foreign,
    /// The token cannot be parsed, which is known without a check.
    Malformed,
    /// The request has more tokens than the filter reads, which is known without a check.
    TooManyTokens,
    /// The provider found no token.
    Missing,
    /// None of several providers with the same locations found a token.
    NoneFound,
    /// The key is unknown; a fetch can bring it.
    UnknownKid,
    /// There are no keys yet.
    NoKeys,
    /// The signature does not match; the issuer may have replaced the key.
    ReplacedKey,
    /// The key is unknown, and the issuer was asked.
    MissingKey,
    /// The key is unknown, and the issuer is to be asked later.
    MissingKeyRefresh,
    /// The keys cannot be fetched.
    Unavailable,
    /// Too many requests are parked.
    TooManyParked,
}

use State::{
    Expired, Foreign, Good, Malformed, Missing, MissingKey, MissingKeyRefresh, NoKeys, NoneFound, OtherAudience,
    OtherIssuer, ReplacedKey, TooManyParked, TooManyTokens, Unavailable, UnknownKid,
};

impl State {
    pub(super) fn denial(self) -> Denial {
        match self {
            Expired => Denial::Token(TokenError::Expired),
            OtherAudience => Denial::Token(TokenError::AudienceNotAllowed),
            OtherIssuer | Foreign => Denial::Token(TokenError::IssuerNotConfigured),
            Malformed => Denial::Token(TokenError::Malformed),
            TooManyTokens => Denial::Token(TokenError::TooLarge),
            Missing | NoneFound => Denial::Token(TokenError::Missing),
            MissingKey | MissingKeyRefresh => Denial::Token(TokenError::UnknownKey),
            Unavailable => Denial::KeysUnavailable(Duration::from_secs(9)),
            TooManyParked => Denial::TooManyParked,
            Good | UnknownKid | NoKeys | ReplacedKey => panic!("{self:?} is no denial"),
        }
    }

    /// What the check of the token says.
    pub(super) fn check(self, provider: ProviderId, token: usize) -> TokenCheck {
        match self {
            Good => TokenCheck::Verified(Permit::new(provider, token, *VERIFIED)),
            UnknownKid => TokenCheck::Wait(Cause::UnknownKid),
            NoKeys => TokenCheck::Wait(Cause::Schedule),
            ReplacedKey => TokenCheck::Wait(Cause::BadSignature),
            MissingKey | Unavailable => TokenCheck::MissingKey { denial: self.denial(), wants_refresh: false },
            MissingKeyRefresh => TokenCheck::MissingKey { denial: self.denial(), wants_refresh: true },
            Expired | OtherAudience | OtherIssuer | TooManyParked => TokenCheck::Denied(self.denial()),
            Foreign | Malformed | TooManyTokens | Missing | NoneFound => panic!("{self:?} is never checked"),
        }
    }
}

/// A tree in a row.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    Nothing,
    Foreign,
    One(State),
    Tokens(Vec<State>),
    All(Vec<Tree>),
    Any(Vec<Tree>, Fallback),
    Each(Vec<State>, OnInvalid),
}

impl From<State> for Tree {
    fn from(state: State) -> Self {
        Self::One(state)
    }
}

pub(super) fn nothing() -> Tree {
    Tree::Nothing
}

pub(super) fn foreign() -> Tree {
    Tree::Foreign
}

macro_rules! any {
    ($($child:expr),*) => { any!(@ $($child),*; Nothing) };
    ($($child:expr),*; missing) => { any!(@ $($child),*; Missing) };
    ($($child:expr),*; missing_or_failed) => { any!(@ $($child),*; MissingOrFailed) };
    (@ $($child:expr),*; $fallback:ident) => {
        $crate::policy::requirement::evaluate::tests::notation::Tree::Any(
            vec![$($child.into()),*],
            $crate::policy::requirement::Fallback::$fallback,
        )
    };
}

macro_rules! all {
    ($($child:expr),*) => {
        $crate::policy::requirement::evaluate::tests::notation::Tree::All(vec![$($child.into()),*])
    };
}

macro_rules! tokens {
    ($($state:expr),*) => {
        $crate::policy::requirement::evaluate::tests::notation::Tree::Tokens(vec![$($state),*])
    };
}

macro_rules! each {
    ($($state:expr),*; $on_invalid:expr) => {
        $crate::policy::requirement::evaluate::tests::notation::Tree::Each(vec![$($state),*], $on_invalid)
    };
}

macro_rules! allow_missing {
    ($($state:expr),*) => { each!($($state),*; $crate::policy::requirement::OnInvalid::Deny) };
}

macro_rules! allow_missing_or_failed {
    ($($state:expr),*) => { each!($($state),*; $crate::policy::requirement::OnInvalid::Allow) };
}

macro_rules! extract_only {
    ($($state:expr),*) => {
        each!($($state),*; $crate::policy::requirement::evaluate::tests::notation::with_header())
    };
}

/// One test per group of rows, and the number of all rows as `ROWS`.
macro_rules! table {
    ($($name:ident { $($tree:expr => $expected:expr;)+ })+) => {
        pub(super) const ROWS: usize = [$($(stringify!($tree)),+),+].len();
        $(
            #[test]
            fn $name() {
                $($crate::policy::requirement::evaluate::tests::notation::check_row(
                    stringify!($tree => $expected),
                    &$tree.into(),
                    &$expected,
                );)+
            }
        )+
    };
}

pub(super) use {all, allow_missing, allow_missing_or_failed, any, each, extract_only, table, tokens};

pub(super) fn with_header() -> OnInvalid {
    OnInvalid::AllowWithHeader(SIGNATURE_VERIFIED.to_owned())
}

impl Tree {
    /// The tree to evaluate. Adds the states of its tokens to `states`.
    pub(super) fn node(&self, states: &mut Vec<State>) -> Node {
        let mut next = |state| {
            states.push(state);
            states.len() - 1
        };
        let policy_of = |index| TokenPolicyRef::new(ProviderId::new(index), 0);
        match self {
            Self::Nothing => Node::Satisfied,
            Self::Foreign => Node::Foreign,
            Self::One(state) => {
                let index = next(*state);
                match state {
                    Foreign | Malformed | NoneFound => Node::Denied(token_error(*state)),
                    Missing => Node::Good(policy_of(index), Vec::new()),
                    _ => Node::Good(policy_of(index), vec![index]),
                }
            }
            Self::Tokens(tokens) => {
                let tokens: Vec<_> = tokens.iter().map(|state| next(*state)).collect();
                Node::Good(policy_of(tokens[0]), tokens)
            }
            Self::All(children) => Node::All(children.iter().map(|child| child.node(states)).collect()),
            Self::Any(children, fallback) => {
                Node::Any(children.iter().map(|child| child.node(states)).collect(), *fallback)
            }
            Self::Each(tokens, on_invalid) => {
                let tokens = tokens.iter().map(|state| {
                    let index = next(*state);
                    match state {
                        Foreign | Malformed => (index, Err(token_error(*state))),
                        _ => (index, Ok(policy_of(index))),
                    }
                });
                Node::Each { tokens: tokens.collect(), on_invalid: on_invalid.clone() }
            }
        }
    }
}

fn token_error(state: State) -> TokenError {
    match state.denial() {
        Denial::Token(error) => error,
        other => panic!("{other:?} is not the fault of a token"),
    }
}

/// What must follow.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) verdict: Verdict,
    /// The permits, or the tokens that wait.
    pub(super) tokens: Vec<usize>,
    pub(super) is_invalid: bool,
    pub(super) checks: Option<Vec<usize>>,
}

pub(super) fn allow<const N: usize>(permits: [usize; N]) -> Expected {
    Expected { verdict: Verdict::Allow, tokens: permits.into(), is_invalid: false, checks: None }
}

pub(super) fn wait<const N: usize>(waiting: [usize; N]) -> Expected {
    Expected { verdict: Verdict::Wait, tokens: waiting.into(), is_invalid: false, checks: None }
}

pub(super) fn deny(told: State) -> Expected {
    Expected { verdict: Verdict::Deny(told.denial()), tokens: Vec::new(), is_invalid: false, checks: None }
}

impl Expected {
    pub(super) fn invalid(mut self) -> Self {
        self.is_invalid = true;
        self
    }

    pub(super) fn checks<const N: usize>(mut self, tokens: [usize; N]) -> Self {
        self.checks = Some(tokens.into());
        self
    }
}

/// Evaluates a row and compares.
pub(super) fn check_row(row: &str, tree: &Tree, expected: &Expected) {
    let mut states = Vec::new();
    let root = tree.node(&mut states);
    check_node(row, &root, |policy, token| states[token].check(policy.provider, token), expected);
}

/// Evaluates a node and compares. Returns which tokens were checked for which providers.
#[track_caller]
pub(super) fn check_node(
    row: &str,
    root: &Node,
    check: impl Fn(TokenPolicyRef, usize) -> TokenCheck,
    expected: &Expected,
) -> Vec<(ProviderId, usize)> {
    let mut checked = Vec::new();
    let evaluation = evaluate(root, |policy, token, _| {
        checked.push((policy.provider, token, check(policy, token)));
        check(policy, token)
    });
    assert_eq!(evaluation.verdict, expected.verdict, "{row}");
    assert_eq!(reference(root, &check), Truth::from(expected.verdict), "the reference for {row}");
    let header = expected.is_invalid.then_some(SIGNATURE_VERIFIED);
    assert_eq!(evaluation.invalid_header.as_deref(), header, "the header of {row}");
    let tokens: Vec<_> = checked.iter().map(|(_, token, _)| *token).collect();
    if let Some(checks) = &expected.checks {
        assert_eq!(tokens, *checks, "the checks of {row}");
    }
    match evaluation.outcome() {
        Outcome::Allow(clearance) => {
            assert_eq!(expected.verdict, Verdict::Allow, "{row}");
            let permits: Vec<_> = clearance.permits().iter().map(Permit::token).collect();
            assert_eq!(permits, expected.tokens, "the permits of {row}");
            let reason = match evaluation.is_foreign {
                true => NoAuthRequired::ForeignTokens,
                false => NoAuthRequired::RequirementSatisfied,
            };
            let reason = permits.is_empty().then_some(reason);
            assert_eq!(clearance.not_required(), reason, "{row}");
        }
        Outcome::Wait(waits) => {
            assert_eq!(expected.verdict, Verdict::Wait, "{row}");
            let waiting = evaluation.findings.iter().filter_map(|finding| match (finding.token, finding.check) {
                (Some(token), TokenCheck::Wait(cause)) => Some((token, (finding.provider, cause))),
                _ => None,
            });
            let (tokens, fetches): (Vec<_>, Vec<_>) = waiting.unzip();
            assert_eq!(tokens, expected.tokens, "what {row} waits for");
            assert!(waits.iter().eq(fetches), "{row}: {waits:?}");
        }
        Outcome::Deny(denial) => assert_eq!(expected.verdict, Verdict::Deny(denial), "{row}"),
    }
    checked.into_iter().map(|(provider, token, _)| (provider, token)).collect()
}

/// The proof that a good token was verified.
static VERIFIED: LazyLock<Verified> = LazyLock::new(|| {
    // RFC 7515 A.3.1
    let key = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let keys = KeySet::new(vec![Key::from_json(key).unwrap()]);
    let jws = Jws::parse(b"eyJhbGciOiJFUzI1NiJ9.e30.AA"[..].into()).unwrap();
    verify(&jws, &TokenPolicy::permissive(), Some(&keys), &AcceptAll, UnixTime::default()).unwrap()
});

struct AcceptAll;

impl SignatureCheck for AcceptAll {
    fn check(&self, _: &Key, _: Algorithm, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Ok(())
    }
}
