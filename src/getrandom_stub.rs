//! A source of randomness that always fails. `rsa` and `p256` link getrandom, which does not support this target;
//! verification never calls it.

#![allow(unsafe_code)] // The macro exports a C function.

fn unsupported(_: &mut [u8]) -> Result<(), getrandom::Error> {
    Err(getrandom::Error::UNSUPPORTED)
}

getrandom::register_custom_getrandom!(unsupported);
