//! Trees of several levels.

use super::notation::{State::*, *};

table! {
    any_within_all {
        all![any![Expired, Good], Good] => allow([1, 2]);
        all![any![Expired, Missing], Good] => deny(Expired).checks([0]);
        all![any![UnknownKid, Expired], Good] => wait([0]);
        all![any![UnknownKid, Good], NoKeys] => wait([0, 2]);
        all![any![UnknownKid, Expired], OtherAudience] => deny(OtherAudience);
        all![Good, any![Foreign, Missing]] => deny(Foreign);
        all![any![Missing; missing], Good] => allow([1]);
        all![any![Missing; missing], any![Missing]] => deny(Missing);
        all![any![Expired; missing_or_failed], Good] => allow([1]);
        all![any![UnknownKid; missing_or_failed], Expired] => deny(Expired);
    }

    all_within_any {
        any![all![Good, Expired], Good] => allow([0, 2]);
        any![all![Good, Good], Expired] => allow([0, 1]);
        any![all![UnknownKid, Expired], NoKeys] => wait([0, 2]);
        any![all![UnknownKid, Expired], Missing] => deny(Expired);
        any![all![Expired, Unavailable], Foreign] => deny(Expired);
        any![all![Missing, Expired], Foreign] => deny(Foreign);
        any![all![UnknownKid, Good], Good] => allow([1, 2]);
        any![tokens![Good, Expired], OtherAudience] => deny(OtherAudience);
        any![all![Expired, Good]; missing_or_failed] => allow([]).checks([0]);
    }

    // As in Envoy, the first denial of `requires_all` alone decides whether a token is missing. A request gains nothing by the
    // other tokens: `allow_missing` allows it without any token, too.
    allow_missing_looks_at_the_denial_that_requires_all_tells {
        any![all![Missing, Missing]; missing] => allow([]);
        any![all![Good, Missing]; missing] => allow([0]);
        any![all![Missing, Expired]; missing] => allow([]).checks([]);
        any![all![Expired, Missing]; missing] => deny(Expired);
        any![all![UnknownKid, Missing]; missing] => wait([0]);
        any![all![UnknownKid, Missing, Expired]; missing] => wait([0]);
        any![all![UnknownKid, Good]; missing] => wait([0]);
    }

    any_within_any {
        any![any![Expired, Good], Good] => allow([1]).checks([0, 1]);
        any![any![Expired, OtherAudience], Foreign] => deny(OtherAudience);
        any![any![UnknownKid], Good] => allow([1]);
        any![any![UnknownKid], Expired] => wait([0]);
        any![any![Missing; missing], Expired] => allow([]).checks([]);
        any![any![Missing], Missing; missing] => allow([]);
        any![any![Foreign; missing], Missing; missing] => deny(Foreign);
        any![any![Expired; missing_or_failed], Good] => allow([]).checks([0]);
        any![any![UnknownKid; missing_or_failed], Expired] => allow([]).checks([0, 1]);
        any![any![UnknownKid; missing_or_failed], Good] => allow([1]);
    }

    each_within_all {
        all![Good, allow_missing![]] => allow([0]);
        all![Good, allow_missing![Expired]] => deny(Expired);
        all![allow_missing![UnknownKid], Good] => wait([0]);
        all![allow_missing_or_failed![Expired, Good], Good] => allow([1, 2]);
        all![allow_missing_or_failed![UnknownKid], Expired] => deny(Expired);
        all![extract_only![Expired], Good] => allow([1]).invalid();
        all![extract_only![Good], Good] => allow([0, 1]);
        all![extract_only![Foreign], Missing] => deny(Missing).invalid();
    }

    each_within_any {
        any![Expired, allow_missing_or_failed![Expired]] => allow([]);
        any![Expired, allow_missing_or_failed![UnknownKid]] => allow([]);
        any![NoKeys, allow_missing_or_failed![UnknownKid, Good]] => allow([2]);
        any![Good, extract_only![Expired]] => allow([0]).checks([0]);
        any![Expired, extract_only![Foreign]] => allow([]).invalid();
        any![UnknownKid, extract_only![Expired]] => allow([]).invalid();
        any![all![Expired], allow_missing![Good]] => allow([1]);
        any![Missing, allow_missing![Foreign]] => deny(Foreign);
        any![UnknownKid, allow_missing![Expired]] => wait([0]);
    }

    the_header_of_a_child_that_does_not_decide_is_kept {
        any![all![extract_only![Expired], Missing], Good] => allow([2]).invalid();
        any![extract_only![UnknownKid], Good] => allow([1]).invalid();
    }

    // A request waits for the tokens that decide, and for no other.
    a_part_that_holds_anyway_waits_for_nothing {
        all![any![UnknownKid; missing_or_failed], NoKeys] => wait([1]);
        all![any![UnknownKid; missing_or_failed], Good] => allow([1]);
        all![allow_missing_or_failed![UnknownKid, NoKeys], Good] => allow([2]);
        all![NoKeys, extract_only![UnknownKid], Good] => wait([0]).invalid();
        any![all![UnknownKid, Good], any![NoKeys; missing_or_failed]] => allow([1]);
    }

    three_levels {
        all![any![all![Good, Expired], all![Good, Good]], Good] => allow([0, 2, 3, 4]);
        any![all![any![Missing; missing], Expired], Missing] => deny(Expired);
        any![all![any![UnknownKid, Expired], any![NoKeys, Good]], Expired] => wait([0, 2]);
        all![any![all![UnknownKid, Missing]; missing], any![Good]] => wait([0]);
    }
}
