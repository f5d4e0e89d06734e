//! `requires_any`: Allow before Wait before Deny.

use super::notation::{State::*, *};

table! {
    foreign_tokens_pass_after_the_other_requirements_were_tried {
        foreign() => allow([]);
        any![Foreign, foreign()] => allow([]).checks([]);
        any![OtherIssuer, foreign()] => allow([]).checks([0]);
        any![Malformed, foreign(); missing] => allow([]);
        any![any![Foreign, foreign()], Good] => allow([]).checks([]);
        all![any![Foreign, foreign()], Missing] => deny(Missing);
        all![any![Foreign, foreign()], Expired] => deny(Expired);
        any![extract_only![Malformed], foreign()] => allow([]).invalid();
    }

    one_good_token_suffices {
        any![Good] => allow([0]);
        any![Good, Expired] => allow([0]);
        any![Expired, Good] => allow([1]);
        any![Missing, Good] => allow([1]);
        any![Foreign, Good] => allow([1]);
        any![Unavailable, Good] => allow([1]);
        any![TooManyParked, Good] => allow([1]);
        any![MissingKeyRefresh, Good] => allow([1]);
        any![Expired, Missing, Foreign, Good] => allow([3]);
        any![Expired, nothing()] => allow([]);
    }

    the_first_good_token_ends_the_evaluation {
        any![Good, Good] => allow([0]).checks([0]);
        any![Good, UnknownKid] => allow([0]).checks([0]);
        any![Expired, Good, Expired] => allow([1]).checks([0, 1]);
        any![nothing(), Good] => allow([]).checks([]);
    }

    a_good_token_does_not_wait_for_another {
        any![UnknownKid, Good] => allow([1]).checks([0, 1]);
        any![NoKeys, Expired, Good] => allow([2]);
        any![ReplacedKey, nothing()] => allow([]);
    }

    nothing_is_denied_while_a_token_waits {
        any![UnknownKid] => wait([0]);
        any![NoKeys, Expired] => wait([0]).checks([0, 1]);
        any![Expired, ReplacedKey] => wait([1]);
        any![Unavailable, UnknownKid] => wait([1]);
        any![UnknownKid, Missing, NoKeys] => wait([0, 2]);
        any![TooManyParked, NoKeys, Foreign] => wait([1]);
    }

    the_heaviest_denial_is_told {
        any![Expired, Missing] => deny(Expired).checks([0]);
        any![Missing, Expired] => deny(Expired);
        any![Foreign, Missing] => deny(Foreign);
        any![Missing, OtherIssuer] => deny(OtherIssuer);
        any![Expired, Foreign] => deny(Expired);
        any![OtherIssuer, Expired] => deny(Expired);
        any![Unavailable, Expired] => deny(Unavailable);
        any![Expired, TooManyParked, Foreign] => deny(TooManyParked);
        any![Missing, Unavailable, Missing] => deny(Unavailable);
        any![MissingKey, OtherIssuer] => deny(MissingKey);
    }

    of_equally_heavy_denials_the_last_is_told {
        any![Expired, OtherAudience] => deny(OtherAudience);
        any![OtherAudience, Expired] => deny(Expired);
        any![Expired, Malformed] => deny(Malformed);
        any![MissingKey, Expired, Foreign] => deny(Expired);
        any![Unavailable, TooManyParked] => deny(TooManyParked);
        any![TooManyParked, Unavailable] => deny(Unavailable);
    }

    without_a_token_a_missing_token_is_told {
        any![] => deny(Missing);
        any![Missing, NoneFound] => deny(Missing);
        any![NoneFound] => deny(Missing).checks([]);
    }

    allow_missing_allows_only_a_request_without_a_token {
        any![; missing] => allow([]);
        any![Missing; missing] => allow([]);
        any![NoneFound, Missing; missing] => allow([]);
        any![Missing, Expired; missing] => deny(Expired);
        any![Foreign; missing] => deny(Foreign);
        any![OtherIssuer, Missing; missing] => deny(OtherIssuer);
        any![Malformed, Missing; missing] => deny(Malformed);
        any![Unavailable; missing] => deny(Unavailable);
        any![MissingKey, Missing; missing] => deny(MissingKey);
        any![Missing, Good; missing] => allow([1]);
    }

    allow_missing_does_not_end_a_wait {
        any![Missing, UnknownKid; missing] => wait([1]);
        any![NoKeys; missing] => wait([0]);
    }

    allow_missing_or_failed_allows_every_request {
        any![; missing_or_failed] => allow([]);
        any![Missing; missing_or_failed] => allow([]);
        any![Expired; missing_or_failed] => allow([]);
        any![Foreign, Malformed; missing_or_failed] => allow([]);
        any![Unavailable; missing_or_failed] => allow([]);
        any![TooManyParked; missing_or_failed] => allow([]);
        any![Expired, Good; missing_or_failed] => allow([1]);
    }

    allow_missing_or_failed_never_waits {
        any![UnknownKid; missing_or_failed] => allow([]);
        any![Expired, ReplacedKey, Missing; missing_or_failed] => allow([]).checks([0, 1]);
        any![NoKeys, Good; missing_or_failed] => allow([1]).checks([0, 1]);
    }
}
