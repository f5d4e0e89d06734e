//! Compares with num-bigint and with ed25519-dalek.

use curve25519_dalek::{
    constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION},
    edwards::CompressedEdwardsY,
    EdwardsPoint, Scalar as DalekScalar,
};
use ed25519_dalek::{Signer as _, SigningKey, Verifier as _, VerifyingKey};

use super::*;

fn random<const N: usize>(rng: &mut fastrand::Rng) -> [u8; N] {
    std::array::from_fn(|_| rng.u8(..))
}

/// All encodings of points of small order, canonical and not.
fn small_order_encodings() -> Vec<[u8; 32]> {
    let mut encodings: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|point| point.compress().0).collect();
    // The `y` of these are 0, 1 and -1: 2^255 - 19, 2^255 - 18 and 2^255 - 20.
    let mut zero = [0xff; 32];
    (zero[0], zero[31]) = (0xed, 0x7f);
    let mut one = zero;
    one[0] = 0xee;
    encodings.extend([zero, one]);
    for mut encoding in encodings.clone() {
        encoding[31] ^= 0x80;
        encodings.push(encoding);
    }
    encodings
}

/// Encodings at the edges: small and large `y`, with both signs, and those of small order.
fn edge_encodings() -> Vec<[u8; 32]> {
    let mut encodings = small_order_encodings();
    for low in 0..=255 {
        for (middle, high) in [(0, 0), (0, 0x80), (0xff, 0x7f), (0xff, 0xff), (0, 0x40), (0, 0xc0)] {
            let mut encoding = [middle; 32];
            (encoding[0], encoding[31]) = (low, high);
            encodings.push(encoding);
        }
    }
    encodings
}

#[test]
fn the_same_encodings_are_points() {
    let mut rng = fastrand::Rng::with_seed(2);
    let mut encodings = edge_encodings();
    encodings.extend((0..500).map(|_| random(&mut rng)));
    let (mut good, mut small) = (0, 0);
    for encoding in encodings {
        let expected = CompressedEdwardsY(encoding).decompress();
        let point = Point::decode(&encoding);
        assert_eq!(point.map(|point| point.encode()), expected.map(|point| point.compress().0), "{encoding:x?}");
        assert_eq!(point.map(|point| point.has_small_order()), expected.map(|point| point.is_small_order()));
        let is_key = VerifyingKey::from_bytes(&encoding).is_ok_and(|key| !key.is_weak());
        assert_eq!(PublicKey::new(&encoding).is_some(), is_key);
        good += usize::from(is_key);
        small += usize::from(expected.is_some_and(|point| point.is_small_order()));
    }
    assert!(good > 800 && small > 20, "{good} {small}");
    let key = ED25519_BASEPOINT_POINT.compress().0;
    assert!(PublicKey::new(&key).is_some());
    assert!(PublicKey::new(&key[1..]).is_none() && PublicKey::new(&[&key[..], &[0]].concat()).is_none());
}

/// `s · B - k · A` for keys of every order, edges included.
#[test]
fn computed_points_agree_with_another_implementation() {
    let mut rng = fastrand::Rng::with_seed(3);
    let order_less_one = (DalekScalar::ZERO - DalekScalar::ONE).to_bytes();
    let mut ones = [0xff; 32];
    ones[31] = 0x0f;
    let mut high = [0; 32];
    high[31] = 0x10;
    let mut scalars = vec![[0; 32], DalekScalar::ONE.to_bytes(), DalekScalar::from(8_u8).to_bytes()];
    scalars.extend([order_less_one, ones, high, [0x11; 32].map(|byte| byte & 0x0f), [8; 32]]);
    scalars.extend((0..12).map(|_| DalekScalar::from_bytes_mod_order(random(&mut rng)).to_bytes()));
    let mut keys = vec![ED25519_BASEPOINT_POINT, -ED25519_BASEPOINT_POINT];
    for torsion in EIGHT_TORSION {
        keys.push(EdwardsPoint::mul_base(&DalekScalar::from_bytes_mod_order(random(&mut rng))) + torsion);
    }
    keys.extend(
        edge_encodings().into_iter().filter_map(|encoding| CompressedEdwardsY(encoding).decompress()).step_by(80),
    );
    for point in keys {
        let Some(key) = PublicKey::new(&point.compress().0) else {
            assert!(point.is_small_order());
            continue;
        };
        for k in &scalars {
            for s in &scalars {
                let computed = key.computed_r(&Scalar::decode(k).unwrap(), &Scalar::decode(s).unwrap()).unwrap();
                let [k, s] = [k, s].map(|bytes| DalekScalar::from_canonical_bytes(*bytes).unwrap());
                let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-point, &s);
                assert_eq!(computed, expected.compress().0, "{point:?} {k:?} {s:?}");
            }
        }
    }
}

/// Asserts that both implementations give the same verdict, and returns the verdict.
fn agreed(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let verdict = PublicKey::new(key).is_some_and(|key| verify(&key, message, signature));
    let expected = VerifyingKey::from_bytes(key).is_ok_and(|key| {
        let signature = ed25519_dalek::Signature::from_slice(signature);
        !key.is_weak() && signature.is_ok_and(|signature| key.verify(message, &signature).is_ok())
    });
    assert_eq!(verdict, expected, "{key:x?} {message:x?} {signature:x?}");
    verdict
}

#[test]
fn verdicts_agree_with_another_implementation() {
    let mut rng = fastrand::Rng::with_seed(4);
    for length in (0..300).step_by(7) {
        let signer = SigningKey::from_bytes(&random(&mut rng));
        let key = signer.verifying_key().to_bytes();
        let message: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
        let signature = signer.sign(&message).to_bytes();
        assert!(agreed(&key, &message, &signature));
        assert!(!agreed(&key, &[&message[..], &[0]].concat(), &signature));
        for _ in 0..4 {
            let (mut tampered, mut other) = (signature, key);
            tampered[rng.usize(..64)] ^= 1 << rng.u8(..8);
            assert!(!agreed(&key, &message, &tampered));
            other[rng.usize(..32)] ^= 1 << rng.u8(..8);
            assert!(!agreed(&other, &message, &signature));
        }
        for wrong in [&signature[..63], &signature[1..], &[&signature[..], &[0]].concat(), &[]] {
            assert!(!agreed(&key, &message, wrong));
        }
    }
}

/// A signature by `secret` under the key `secret · B + torsion`, with `r · B + shift` as `R`.
fn signed(secret: DalekScalar, torsion: EdwardsPoint, shift: EdwardsPoint, message: &[u8]) -> ([u8; 32], [u8; 64]) {
    let key = (EdwardsPoint::mul_base(&secret) + torsion).compress().0;
    let nonce = DalekScalar::from(77_u8);
    let r = (EdwardsPoint::mul_base(&nonce) + shift).compress().0;
    let digest = Hash::Sha512.digest(&[&r, &key, message]);
    let k = DalekScalar::from_bytes_mod_order_wide(&digest.try_into().unwrap());
    let s = nonce + k * secret;
    (key, [r, s.to_bytes()].concat().try_into().unwrap())
}

/// The cases of Chalkias, Garillot and Nikolaenko, "Taming the many EdDSAs": small and mixed order of `A` and `R`, `S` from
/// L on, encodings that are not canonical.
#[test]
fn edge_cases_agree_with_another_implementation() {
    let secret = DalekScalar::from(123_456_789_u32);
    let (mut good, mut bad) = (0, 0);
    for torsion in EIGHT_TORSION {
        for shift in EIGHT_TORSION {
            for secret in [secret, DalekScalar::ZERO] {
                for message in 0..12_u8 {
                    let (key, signature) = signed(secret, torsion, shift, &[message]);
                    *(if agreed(&key, &[message], &signature) { &mut good } else { &mut bad }) += 1;
                }
            }
        }
    }
    // Without a cofactor, a torsion of `A` must cancel with that of `R`, which depends on the message.
    assert!(good > 80 && bad > 80, "{good} {bad}");
    let (key, signature) = signed(secret, EIGHT_TORSION[0], EIGHT_TORSION[0], b"message");
    assert!(agreed(&key, b"message", &signature));
    let order = num_bigint::BigUint::from_bytes_le(&(DalekScalar::ZERO - DalekScalar::ONE).to_bytes()) + 1_u8;
    for times in 1..16_u8 {
        let s = num_bigint::BigUint::from_bytes_le(&signature[32..]) + &order * times;
        let mut s = s.to_bytes_le();
        s.resize(32, 0);
        assert!(!agreed(&key, b"message", &[&signature[..32], &s].concat()));
    }
    for r in edge_encodings() {
        for s in [&[0; 32], &signature[32..]] {
            agreed(&key, b"message", &[&r, s].concat());
        }
        // As a key too; with `S` = 0 and a key of small order, `R` may be of small order.
        agreed(&r, b"message", &signature);
        agreed(&r, b"message", &[&r[..], &[0; 32]].concat());
    }
    // `R` is neutral: only its canonical encoding may pass. `S` = k · secret.
    let neutral = EIGHT_TORSION[0].compress().0;
    let mut passed = Vec::new();
    for r in small_order_encodings() {
        let digest = Hash::Sha512.digest(&[&r, &key, b"message"]);
        let s = DalekScalar::from_bytes_mod_order_wide(&digest.try_into().unwrap()) * secret;
        if agreed(&key, b"message", &[r, s.to_bytes()].concat()) {
            passed.push(r);
        }
    }
    assert_eq!(passed, [neutral]);
}

/// RFC 8032 §7.1.
#[test]
fn published_signatures_are_verified() {
    let vectors = [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
        (
            "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
        ),
    ];
    let bytes = |hex: &str| -> Vec<u8> {
        let digit = |digit: &u8| char::from(*digit).to_digit(16).unwrap() as u8;
        hex.as_bytes().chunks(2).map(|digits| digit(&digits[0]) << 4 | digit(&digits[1])).collect()
    };
    for (key, message, signature) in vectors {
        let [key, mut message, signature] = [key, message, signature].map(bytes);
        let key = PublicKey::new(&key).unwrap();
        assert!(verify(&key, &message, &signature));
        message.push(0);
        assert!(!verify(&key, &message, &signature));
    }
}
