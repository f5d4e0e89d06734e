//! Mutations of inputs, for runs without libFuzzer. A seed determines the sequence.

use fastrand::Rng;

/// Texts that have a meaning somewhere in the core.
const WORDS: [&[u8]; 30] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b":",
    b",",
    b".",
    b"null",
    b"true",
    b"1e309",
    b"18446744073709551616",
    b"\xff",
    b"\0",
    b"\n",
    b"=",
    b"&",
    b"?",
    b"%2e",
    b";",
    b"\\u0000",
    b"kid",
    b"alg",
    b"crit",
    b"keys",
    b"max-age=",
    b"Bearer ",
    b"https://",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
];

/// Inputs longer than this are cut.
const MAX_BYTES: usize = 1 << 14;

/// A mutation of one of the inputs.
pub fn mutate(inputs: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let pick = |rng: &mut Rng| inputs.get(rng.usize(..inputs.len().max(1))).cloned().unwrap_or_default();
    let mut bytes = pick(rng);
    for _ in 0..rng.usize(1..=8) {
        let at = rng.usize(..=bytes.len());
        match rng.u8(..8) {
            0 => insert(&mut bytes, at, rng.choice(&WORDS).copied().unwrap_or_default()),
            1 => insert(&mut bytes, at, &[rng.u8(..)]),
            2 => remove(&mut bytes, at, rng.usize(1..=16)),
            3 => {
                let end = at.saturating_add(rng.usize(1..=64)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                let to = rng.usize(..=bytes.len());
                insert(&mut bytes, to, &part);
            }
            4 => {
                let other = pick(rng);
                let from = rng.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            5 => {
                let word = rng.choice(&WORDS).copied().unwrap_or_default();
                remove(&mut bytes, at, word.len());
                insert(&mut bytes, at, word);
            }
            6 => bytes.get_mut(at).into_iter().for_each(|byte| *byte = rng.u8(..)),
            _ => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << rng.u8(..8)),
        }
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

fn insert(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    bytes.splice(at..at, part.iter().copied());
}

fn remove(bytes: &mut Vec<u8>, at: usize, count: usize) {
    bytes.drain(at..at.saturating_add(count).min(bytes.len()));
}

/// Inputs without structure, for targets that make their values of any bytes.
pub fn random(count: u64, size: usize) -> Vec<Vec<u8>> {
    let bytes = |seed| {
        let mut rng = Rng::with_seed(seed);
        (0..size).map(|_| rng.u8(..)).collect()
    };
    (0..count).map(bytes).collect()
}
