//! `requires_all`: Deny before Wait before Allow. All tokens that one provider finds must be good, too.

use super::notation::{State::*, *};

table! {
    every_child_must_allow {
        Good => allow([0]);
        nothing() => allow([]);
        all![] => allow([]);
        all![Good, Good] => allow([0, 1]);
        all![nothing(), Good] => allow([0]);
        all![Good, Expired] => deny(Expired);
        all![Good, Missing] => deny(Missing);
        all![Foreign, Good] => deny(Foreign);
        all![Good, Unavailable] => deny(Unavailable);
        all![MissingKeyRefresh, Good] => deny(MissingKeyRefresh);
    }

    the_first_denial_is_told_and_ends_the_evaluation {
        all![Expired, OtherAudience] => deny(Expired).checks([0]);
        all![OtherAudience, Expired] => deny(OtherAudience).checks([0]);
        all![Missing, Expired] => deny(Missing).checks([]);
        all![Foreign, Unavailable] => deny(Foreign).checks([]);
        all![Good, TooManyParked, Expired] => deny(TooManyParked).checks([0, 1]);
        all![Expired, UnknownKid] => deny(Expired).checks([0]);
    }

    a_denial_does_not_wait_for_another_token {
        all![UnknownKid, Expired] => deny(Expired).checks([0, 1]);
        all![NoKeys, Good, Missing] => deny(Missing);
        all![ReplacedKey, Foreign] => deny(Foreign);
        all![UnknownKid, Unavailable, Expired] => deny(Unavailable);
    }

    nothing_is_allowed_while_a_token_waits {
        UnknownKid => wait([0]);
        all![UnknownKid, Good] => wait([0]).checks([0, 1]);
        all![Good, NoKeys] => wait([1]);
        all![ReplacedKey, Good, UnknownKid] => wait([0, 2]);
        all![nothing(), NoKeys] => wait([0]);
    }

    every_token_of_a_provider_must_be_good {
        tokens![Good, Good] => allow([0, 1]);
        tokens![Good, Expired] => deny(Expired);
        tokens![Expired, Good] => deny(Expired).checks([0]);
        tokens![Expired, OtherAudience] => deny(Expired);
        tokens![UnknownKid, Good] => wait([0]);
        tokens![UnknownKid, Expired] => deny(Expired);
        tokens![Good, UnknownKid, OtherIssuer] => deny(OtherIssuer);
    }
}
