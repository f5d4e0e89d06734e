//! `p256` links getrandom, which this target lacks. Verification draws no randomness; if that ever changed, it fails here.

#![allow(unsafe_code)] // The macro exports a C function.

fn none(_: &mut [u8]) -> Result<(), getrandom::Error> {
    Err(getrandom::Error::UNSUPPORTED)
}

getrandom::register_custom_getrandom!(none);
