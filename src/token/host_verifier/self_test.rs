//! Known good signatures for the self-test. The private keys no longer exist.

use base64::{engine::general_purpose::URL_SAFE_NO_PAD, Engine as _};

use crate::{
    crypto::Hash,
    keys::{Algorithm, Key},
};

/// The signed text.
pub(super) const TEXT: &[u8] = b"jwks-gate";

/// A good signature over [`TEXT`].
pub(super) struct KnownSignature {
    pub(super) algorithm: Algorithm,
    pub(super) key: Key,
    pub(super) signature: Vec<u8>,
}

/// One signature for each algorithm that a host may support.
pub(super) fn known_signatures() -> impl Iterator<Item = KnownSignature> {
    SIGNATURES.into_iter().filter_map(|(algorithm, key, signature)| {
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(KnownSignature { algorithm, key: Key::from_json(key).ok()?, signature })
    })
}

const RSA: &str = concat!(
    r#"{"kty":"RSA","e":"AQAB","n":"ssdRzwj7rg1ftOID56FLDPCS3cqEzpeBTwimaTacABcJvxZUeIha5-YXKogOAVdPzvOg_aG"#,
    "b7v4CgdUKjiL68vl4XwOcNZuRjpepCL2HC-IwX5KCNxN-2dSzo4i4NhDn80i_vs4HDj_TQOU4Xn-MPOHMn1mmHKP8HfMYBIGjB-H",
    "OEqzfVhrso9jdY3bo-Rx24JdvlqCKHR6WOU707ML77rekiJSmkYbkreSbGABDK-Neqy0qvjsKPTb6og8VgsadkXpN4w_nxdNG132",
    r#"XmFVJKMxpE0iUURlA9Fn5raqaOGA96n7YmHJg6DlViK6PrAyz7DBy2S_r-H5FXyuRudUTdQ"}"#,
);
const P256: &str = concat!(
    r#"{"kty":"EC","crv":"P-256","x":"UpVaQsoNPcNpOQ4-N8ECLX1UBGIeaebFJPAX5kQXnLk","y":"DxDnD0hPyghQb9QIjO9"#,
    r#"npNqQ97g9pgJ7MdKqK4FIsqQ"}"#,
);
const P384: &str = concat!(
    r#"{"kty":"EC","crv":"P-384","x":"SaxF_l32_myR4I_FNDxhpusMA5SaP7EY9iP9IWrrvu0oldavWRXtsLJFCrjLvLpE","y""#,
    r#":"MXQudTz2KCupK9OBeuJEKxs5g_TKXjciM8U3qXgEb1DinzQFkGenzQqoBTuFL1IQ"}"#,
);
const P521: &str = concat!(
    r#"{"kty":"EC","crv":"P-521","x":"ALJ1xUnPwJvXhsjqrGPG8GRhRDWIBnkGmawexd3roECXDYG05eShyoRqnip2LWpjK0DjI"#,
    r#"vJvWYqrbtpH7GRZgQiE","y":"AA-2Fl5Oo3MX1kUXTmXKyLDH6G5PlJaIWKkhRQ29FqbKBdApAlBm-6g4d7BvyiLhMYpfH-2G9r"#,
    r#"bIKp5FSdstBXSW"}"#,
);

const SIGNATURES: [(Algorithm, &str, &str); 6] = [
    (
        Algorithm::Rs(Hash::Sha256),
        RSA,
        concat!(
            "d_Zhb4ROH3iMCTaCBopCYqIb1x5BUxzJkZmISx7kzDCs7ZSpulrvVlKPCyWxjvwYjB4m2K4XAQn4FgQT5sgRZumyyvwCuJBBuUGK",
            "1wkR5-9PcWdBEgWr5BhcSMeqvwuu1Sm3UJXtdLFQ71iWPQwOsSVKNlb2cUI7CtrUxHGMsLa2XEnjXJ2mcxMBnhvhJJ9cQU-wuUv1",
            "VY7JNLgVdjl_dTXj6RJ444c-2xjNyRfMwGSH7EUwhyVXUbz1kPwlNACCdxAyQGujlFL95FNQaRTtMdNqe7pJeiEASSw7Lu8qF9bx",
            "A5JkvnvC3cHuNEVw5rIMRpKVBLDACUfKT8lYnQ66ag",
        ),
    ),
    (
        Algorithm::Rs(Hash::Sha384),
        RSA,
        concat!(
            "VbFnXIBz-iLKT6Qk0apQRDJ_oUj-vdE2zCRmt53JgpGIZmlMQTkPC4KzMCF-ixF1ZMMJHf8Z2bLkX21abaixCt0k-vg8YhLrcpwt",
            "5QPvKPdvPPNLgQgGMQMS--199YNRpCheyPMa7d5sHazXio2zvBFe2tOW9F0YaK15AWgXvypGZDHxJwG83-Iy-lrx-lllCzibQmqk",
            "pTKbPJkoLep6lpK2WRgqO173DUX74pu5aLH3gjKo92liGNfoMpPlyByaPiYCmEg4sLb-jGgRW5Pvdlv6O6hSxrBnptmNYm4MKDJp",
            "wvSZzIkNrJAq-CqprwqhuOfLa4jnlsLJGRE699WGUQ",
        ),
    ),
    (
        Algorithm::Rs(Hash::Sha512),
        RSA,
        concat!(
            "XevB-EdBaQi9rM2yHLyo0_BJylYT2188UMhNpBXApsUbRqTEcQX2W9vHcF2D1SH4j10qOD18Mw9ehKY7LkAqsPxdFalsg0L5fFx0",
            "GicNOVOZ4pHFzVEYdy9mw1vT8ND0_fFzjsdgN1UQjz5I0yIQtojcLgehLmndqr659vQmunrfcapa0iWPSBvf9xWJidFDuZA6TwML",
            "2RSqFGoaYsc2MQ5TFpAmlMtG2Z8EC9ppne6i3mxDTjnVk8y42DPbi5360QtLiNHnWmluE6iXkMFTz4w5YPjE0i26b0Ls1wHK3FAu",
            "jffUDrEGs7uadkpHfsC8jKlPa7i11xJswHdgBmQx7w",
        ),
    ),
    (
        Algorithm::Es(Hash::Sha256),
        P256,
        "rujY_O7jk-93k4gGkUpjbm_TR23FY_wpyT_FKc2r2luLRuiT5ouhk-SgJXKGYiEmL9o5oalIAUcqpFbzYwQPQA",
    ),
    (
        Algorithm::Es(Hash::Sha384),
        P384,
        concat!(
            "uVOjK3o1L2XoErkUZobaJBk6dBF4WPCmX4I639ZDp98I1Ks3boGm91sAIoBw2fWsjYMOSIyc_76crSnm_YGXBkdAOfIwF9KgDoXq",
            "fBNo3nza1CVQAMc1sQcOME88tuN5",
        ),
    ),
    (
        Algorithm::Es(Hash::Sha512),
        P521,
        concat!(
            "AGxGXuYIFVnzOwpmmutld-5NRe992pnPR15Y5EgrNVkusz5ycmzLbUCJZVF0EABtlODZ1qBjbB0BCVzzZvTZF25IAR-WXnCuW7XN",
            "wDACrC2nO_MmXJxWioU7zdUvronniXs_rKgSTAa_5w7i-vCZdQS0kV7d-wnKn8bncWftgUOgUElM",
        ),
    ),
];
