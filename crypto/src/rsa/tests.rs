use num_bigint::BigUint;

use super::*;

/// Compares with num-bigint over random and extreme numbers of every size.
#[test]
fn powers_agree_with_another_implementation() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut number = |bytes: usize| -> Vec<u8> { (0..bytes).map(|_| rng.u8(..)).collect() };
    for bits in [2048, 2049, 2055, 2056, 2110, 2111, 2880, 3072, 4095, 4096, 5760, 8192] {
        let length = usize::div_ceil(bits, 8);
        let top = 1_u8 << ((bits - 1) % 8);
        for mut modulus in [number(length), vec![0xff; length], vec![0; length]] {
            modulus[0] = modulus[0] & (top - 1) | top;
            modulus[length - 1] |= 1;
            let mut less = modulus.clone();
            less[length - 1] -= 1;
            for exponent in [&[3_u8][..], &[1, 0, 1], &[0xff, 0xff, 0xff, 0xff], &[0, 17]] {
                let key = PublicKey::new(&modulus, exponent).unwrap();
                let mut one = vec![0; length];
                one[length - 1] = 1;
                let mut below = number(length);
                below[0] = 0;
                for base in [vec![0; length], one, below, less.clone()] {
                    let result = key.encoded_message(&base).unwrap();
                    let expected = BigUint::from_bytes_be(&base)
                        .modpow(&BigUint::from_bytes_be(exponent), &BigUint::from_bytes_be(&modulus));
                    assert_eq!(BigUint::from_bytes_be(&result), expected, "{bits} bits, {exponent:?}");
                    assert_eq!(result.len(), length);
                }
                assert_eq!(key.encoded_message(&modulus), None);
                assert_eq!(key.encoded_message(&less[1..]), None);
            }
        }
    }
}

#[test]
fn weak_keys_are_rejected() {
    let good = vec![0xff; 256];
    let is_key = |modulus: &[u8], exponent: &[u8]| PublicKey::new(modulus, exponent).is_some();
    assert!(is_key(&good, &[1, 0, 1]) && is_key(&[&[0, 0][..], &good].concat(), &[0, 3]));
    for exponent in [&[][..], &[0], &[1], &[2], &[1, 0, 0, 0, 1], &[0xff; 9]] {
        assert!(!is_key(&good, exponent), "{exponent:?}");
    }
    let mut even = good.clone();
    even[255] = 0xfe;
    let mut short = good.clone();
    short[0] = 0x7f;
    for modulus in [&even, &short, &vec![0xff; 255], &vec![0xff; 1025], &vec![], &vec![0; 300]] {
        assert!(!is_key(modulus, &[1, 0, 1]), "{} bytes", modulus.len());
    }
}
