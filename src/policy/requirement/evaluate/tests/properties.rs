//! What holds of every tree and every state of its tokens.

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};

use super::{
    super::{evaluate, Effort, Evaluation, Outcome, TokenCheck, Verdict},
    notation::{
        with_header,
        State::{self, *},
    },
    reference::{reference, Truth},
};
use crate::{
    ids::ProviderId,
    policy::{
        permit::Permit,
        requirement::{resolved::Node, Fallback, OnInvalid, TokenPolicyRef},
    },
    token::TokenError,
};

const PROVIDERS: usize = 3;
const TOKENS: usize = 4;
const DENIED: [State; 7] =
    [Expired, OtherAudience, OtherIssuer, MissingKey, MissingKeyRefresh, Unavailable, TooManyParked];
const WAITING: [State; 3] = [UnknownKid, NoKeys, ReplacedKey];

/// The state of each token under each provider's policy.
#[derive(Clone, Debug)]
struct States(Vec<State>);

impl States {
    fn check(&self, policy: TokenPolicyRef, token: usize) -> TokenCheck {
        self.0[policy.provider.index() * TOKENS + token].check(policy.provider, token)
    }

    fn map(&self, mut of: impl FnMut(usize, State) -> State) -> Self {
        Self(self.0.iter().enumerate().map(|(index, state)| of(index, *state)).collect())
    }

    fn evaluate(&self, node: &Node) -> Evaluation {
        evaluate(node, |policy, token, _| self.check(policy, token))
    }

    fn truth(&self, node: &Node) -> Truth {
        self.evaluate(node).verdict.into()
    }
}

fn states() -> impl Strategy<Value = States> {
    let state = prop_oneof![2 => Just(Good), 2 => select(&DENIED[..]), 2 => select(&WAITING[..])];
    vec(state, PROVIDERS * TOKENS).prop_map(States)
}

fn policies() -> impl Strategy<Value = TokenPolicyRef> {
    (0..PROVIDERS).prop_map(|index| TokenPolicyRef::new(ProviderId::new(index), 0))
}

fn nodes() -> impl Strategy<Value = Node> {
    let found =
        vec((0..TOKENS, prop_oneof![4 => policies().prop_map(Ok), 1 => Just(Err(TokenError::Malformed))]), 0..4);
    let on_invalid = select(vec![OnInvalid::Deny, OnInvalid::Allow, with_header()]);
    let errors = select(vec![TokenError::Missing, TokenError::IssuerNotConfigured, TokenError::Malformed]);
    let leaf = prop_oneof![
        1 => (0..1).prop_map(|_| Node::Satisfied),
        2 => errors.prop_map(Node::Denied),
        8 => (policies(), vec(0..TOKENS, 0..=2)).prop_map(|(policy, tokens)| Node::Good(policy, tokens)),
        2 => (found, on_invalid).prop_map(|(tokens, on_invalid)| Node::Each { tokens, on_invalid }),
    ];
    leaf.prop_recursive(4, 32, 3, |child| {
        let fallback = prop_oneof![
            4 => Just(Fallback::Nothing),
            2 => Just(Fallback::Missing),
            1 => Just(Fallback::MissingOrFailed),
        ];
        prop_oneof![
            2 => vec(child.clone(), 0..=4).prop_map(Node::All),
            3 => (vec(child, 0..=4), fallback).prop_map(|(children, fallback)| Node::Any(children, fallback)),
        ]
    })
}

/// Whether `holds` holds of the node or of a node below.
fn contains(node: &Node, holds: &dyn Fn(&Node) -> bool) -> bool {
    holds(node)
        || match node {
            Node::All(nodes) | Node::Any(nodes, _) => nodes.iter().any(|node| contains(node, holds)),
            _ => false,
        }
}

/// The same requirement, resolved for a request without a token.
fn without_tokens(node: &Node) -> Node {
    let each = |nodes: &[Node]| nodes.iter().map(without_tokens).collect();
    match node {
        Node::Satisfied => Node::Satisfied,
        Node::Foreign | Node::Denied(_) => Node::Denied(TokenError::Missing),
        Node::Good(policy, _) => Node::Good(*policy, Vec::new()),
        Node::All(nodes) => Node::All(each(nodes)),
        Node::Any(nodes, fallback) => Node::Any(each(nodes), *fallback),
        Node::Each { on_invalid, .. } => Node::Each { tokens: Vec::new(), on_invalid: on_invalid.clone() },
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(10_000) })]

    #[test]
    fn the_evaluation_agrees_with_the_reference(node in nodes(), states in states()) {
        let expected = reference(&node, &|policy, token| states.check(policy, token));
        prop_assert_eq!(states.truth(&node), expected);
    }

    /// Where every outcome of the tokens that wait allows the request, the verdict is Allow at once.
    #[test]
    fn a_request_that_waits_is_denied_if_its_tokens_are(
        node in nodes(),
        states in states(),
        denied in vec(select(&DENIED[..]), PROVIDERS * TOKENS),
    ) {
        let later = states.map(|index, state| if WAITING.contains(&state) { denied[index] } else { state });
        if states.truth(&node) != Truth::Allow {
            prop_assert_eq!(later.truth(&node), Truth::Deny);
        }
    }

    /// Where every outcome denies the request, the verdict is Deny at once. A missing token behind a token that waits is the
    /// exception under `allow_missing`: the token that waits may change what is told.
    #[test]
    fn a_request_that_waits_is_allowed_if_its_tokens_are_good(node in nodes(), states in states()) {
        let later = states.map(|_, state| if WAITING.contains(&state) { Good } else { state });
        let allows_missing = contains(&node, &|node| matches!(node, Node::Any(_, Fallback::Missing)));
        if states.truth(&node) == Truth::Wait && !allows_missing {
            prop_assert_eq!(later.truth(&node), Truth::Allow);
        }
    }

    /// Once the fetches have ended that a request waits for, the request is decided.
    #[test]
    fn a_request_waits_for_no_token_that_does_not_matter(
        node in nodes(),
        states in states(),
        ends in vec(prop_oneof![Just(Good), select(&DENIED[..])], PROVIDERS * TOKENS),
    ) {
        let evaluation = states.evaluate(&node);
        let awaited: Vec<_> = evaluation.findings.iter().filter(|finding| matches!(finding.check, TokenCheck::Wait(_)))
            .filter_map(|finding| Some(finding.provider.index() * TOKENS + finding.token?)).collect();
        let later = states.map(|index, state| if awaited.contains(&index) { ends[index] } else { state });
        prop_assert_ne!(later.truth(&node), Truth::Wait);
    }

    #[test]
    fn an_allowed_request_stays_allowed_however_waiting_tokens_end(
        node in nodes(),
        states in states(),
        ends in vec(prop_oneof![Just(Good), select(&DENIED[..])], PROVIDERS * TOKENS),
    ) {
        let later = states.map(|index, state| if WAITING.contains(&state) { ends[index] } else { state });
        if states.truth(&node) == Truth::Allow {
            prop_assert_eq!(later.truth(&node), Truth::Allow);
        }
    }

    #[test]
    fn a_request_without_a_good_token_gains_nothing_by_its_tokens(node in nodes(), states in states()) {
        let states = states.map(|_, state| if state == Good { Expired } else { state });
        if states.truth(&node) == Truth::Allow {
            prop_assert_eq!(states.truth(&without_tokens(&node)), Truth::Allow);
        }
    }

    #[test]
    fn what_is_left_unchecked_while_a_token_waits_can_only_make_the_request_wait(node in nodes(), states in states()) {
        let full = states.truth(&node);
        let cheap = evaluate(&node, |policy, token, effort| match effort {
            Effort::Full => states.check(policy, token),
            Effort::Cheap => TokenCheck::Unchecked,
        });
        let cheap = Truth::from(cheap.verdict);
        prop_assert!(cheap == full || cheap == Truth::Wait);
    }

    #[test]
    fn permits_are_of_verified_tokens_and_waits_are_of_waiting_tokens(node in nodes(), states in states()) {
        let mut checks = Vec::new();
        let evaluation = evaluate(&node, |policy, token, _| {
            checks.push((policy.provider, token, states.check(policy, token)));
            states.check(policy, token)
        });
        match evaluation.outcome() {
            Outcome::Allow(clearance) => {
                prop_assert_eq!(evaluation.verdict, Verdict::Allow);
                let mut verified = Vec::new();
                for (provider, token, check) in checks {
                    if matches!(check, TokenCheck::Verified(_)) && !verified.contains(&(provider, token)) {
                        verified.push((provider, token));
                    }
                }
                let permits: Vec<_> = clearance.permits().iter().map(|p: &Permit| (p.provider(), p.token())).collect();
                prop_assert_eq!(clearance.not_required().is_some(), permits.is_empty());
                prop_assert_eq!(permits, verified);
            }
            Outcome::Wait(waits) => {
                prop_assert_eq!(evaluation.verdict, Verdict::Wait);
                for (provider, cause) in waits.iter() {
                    let waits = |check: &TokenCheck| matches!(check, TokenCheck::Wait(other) if *other == cause);
                    prop_assert!(checks.iter().any(|(other, _, check)| *other == provider && waits(check)));
                }
            }
            Outcome::Deny(denial) => prop_assert_eq!(evaluation.verdict, Verdict::Deny(denial)),
        }
    }
}

#[test]
fn random_trees_reach_every_verdict() {
    let (mut runner, strategy) = (TestRunner::deterministic(), (nodes(), states()));
    let mut verdicts = [0; 3];
    for _ in 0..1_000 {
        let (node, states) = strategy.new_tree(&mut runner).unwrap().current();
        verdicts[states.truth(&node) as usize] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 50), "{verdicts:?}");
}
