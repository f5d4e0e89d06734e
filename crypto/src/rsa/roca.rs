//! ROCA (CVE-2017-15361): keys that certain chips generated can be factored. Modulo each of many small primes, such a
//! modulus is a power of 65537. Another modulus has this fingerprint with a probability of 2^-27.

const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether the big-endian `modulus` has the fingerprint.
pub(super) fn is_vulnerable(modulus: &[u8]) -> bool {
    PRIMES.into_iter().all(|prime| {
        let remainder =
            modulus.iter().fold(0, |rest: u32, byte| modulo(rest.wrapping_shl(8) | u32::from(*byte), prime));
        let powers = std::iter::successors(Some(1), |power: &u32| Some(modulo(power.wrapping_mul(65_537), prime)));
        powers.take(prime as usize).any(|power| power == remainder)
    })
}

fn modulo(number: u32, prime: u32) -> u32 {
    number.checked_rem(prime).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigUint;

    #[test]
    fn powers_of_65537_have_the_fingerprint_and_random_moduli_do_not() {
        let product = PRIMES.iter().map(|prime| BigUint::from(*prime)).product::<BigUint>();
        let power = BigUint::from(65_537_u32).modpow(&BigUint::from(12_345_u32), &product);
        let modulus: BigUint = power + (product << 2_000_u32);
        assert!(is_vulnerable(&modulus.to_bytes_be()));
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..1_000 {
            let modulus: Vec<u8> = (0..256).map(|_| rng.u8(..)).collect();
            assert!(!is_vulnerable(&modulus));
        }
    }
}
