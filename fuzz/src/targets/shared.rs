//! Values in shared data other than records, and messages between workers. The first byte chooses the form.

use jwks_gate::{
    shared::{
        announcement,
        codec::{Reader, Writer},
        manifest::{Manifest, Newer, ProviderManifest},
        message::Message,
        names, pairs,
        registry::{Entry, Registry},
        seal::Seal,
        worker_totals::WorkerTotals,
    },
    time::UnixTime,
};

const NOW: UnixTime = UnixTime::from_millis(super::record::NOW);

pub fn seeds() -> Vec<Vec<u8>> {
    let entry = |worker| Entry { worker, queue: Some(3), configuration: 7, since: 1, runs: worker > 1, seen_at: NOW };
    let registry =
        Registry::default().with(entry(1), NOW).with(entry(2), NOW).with(Entry { queue: None, ..entry(3) }, NOW);
    let provider = |name: &str, revoked: &[&str]| ProviderManifest {
        name: name.to_owned(),
        cell: [1; 16],
        revoked: revoked.iter().map(|key| (*key).to_owned()).collect(),
    };
    let manifest = Manifest(vec![provider("p", &["k1", "k2"]), provider("q", &[])]);
    let totals = WorkerTotals::default().with(1, &[(7, 3), (8, 1)], NOW);
    let pairs = pairs::write(&[(":path", "/"), ("authorization", "Bearer a"), ("", "")]);
    let sealed = Seal::new(b"secret").expect("any secret").seal("key", b"value");
    let forms =
        [registry.encode(), manifest.encode(), totals.encode(), pairs, sealed, [7; 16].to_vec(), b"look".to_vec()];
    let numbered = forms.into_iter().enumerate().map(|(form, bytes)| [vec![form as u8], bytes].concat());
    numbered.chain([vec![5, 0, 0, 0, 0, 0, 0, 0, 0], vec![6; 17]]).collect()
}

pub fn run(data: &[u8]) {
    let Some((form, bytes)) = data.split_first() else { return };
    match form {
        0 => registry(bytes),
        1 => manifest(bytes),
        2 => totals(bytes),
        3 => list(bytes),
        4 => sealed(bytes),
        5 => codec(bytes),
        _ => message(bytes),
    }
}

fn registry(bytes: &[u8]) {
    let registry = Registry::decode(bytes, NOW);
    assert_eq!(Registry::decode(&registry.encode(), NOW), registry);
    let known = registry.queues().count();
    assert!(known <= 512);

    // A worker can always join, is found, and takes nobody's place but that of a list that is full.
    let worker = registry.next_worker(NOW);
    let this = Entry { worker, queue: Some(9), configuration: 1, since: worker, runs: true, seen_at: NOW };
    assert_eq!(registry.entry(worker), None, "numbers do not come again");
    let joined = registry.with(this, NOW);
    let entry = joined.entry(worker).expect("the worker that joined");
    assert!(entry.since <= worker && joined.queues().any(|queue| queue == 9) && joined.is_speaker(worker));
    assert!(joined.queues().count() + 1 >= known.min(512));
    assert!(!joined.newer(1).contains(&1) && joined.configurations().contains(&1));
    assert_eq!(joined.without(worker).entry(worker), None);
    let speakers = |configuration| {
        let of = |entry: &Entry| entry.configuration == configuration && joined.is_speaker(entry.worker);
        [Some(entry), joined.entry(1)].into_iter().flatten().filter(of).map(|entry| entry.worker).max()
    };
    assert_eq!(speakers(1), Some(worker), "the newest speaks");
}

fn manifest(bytes: &[u8]) {
    let Some(manifest) = Manifest::decode(bytes) else { return };
    let written = manifest.encode();
    assert_eq!(Manifest::decode(&written), Some(manifest.clone()));
    assert!(written.len() <= bytes.len() && manifest.cells().count() == manifest.0.len());
    let newer = Newer::new([Some(manifest.clone())], &Newer::default(), true);
    for provider in &manifest.0 {
        let revoked: Vec<_> = newer.revoked(&provider.name, &provider.cell).collect();
        assert!(
            newer.has_gauges_of(&provider.name) && provider.revoked.iter().all(|key| revoked.contains(&key.as_str()))
        );
    }
    // What another plugin overwrites ends no revocation.
    assert_eq!(Newer::new([None], &newer, true), newer);
    assert_eq!(Newer::new([], &newer, false), newer);
}

fn totals(bytes: &[u8]) {
    let totals = WorkerTotals::decode(bytes);
    assert_eq!(WorkerTotals::decode(&totals.encode()), totals);
    let with = totals.with(u64::MAX, &[(7, 3)], NOW);
    assert!(with.sum(7, NOW) >= 3 && with.sum(7, NOW) <= totals.sum(7, NOW) + 3);
    assert_eq!(with.with(u64::MAX, &[(7, 3)], NOW), with);
}

fn list(bytes: &[u8]) {
    let Some(list) = pairs::read(bytes) else { return };
    let texts: Option<Vec<_>> =
        list.iter().map(|(name, value)| Some((*name, std::str::from_utf8(value).ok()?))).collect();
    let Some(texts) = texts else { return };
    let written = pairs::write(&texts);
    assert_eq!(pairs::read(&written), Some(list));
    assert!(written.len() <= bytes.len());
}

fn sealed(bytes: &[u8]) {
    let seal = Seal::new(b"secret").expect("any secret");
    let closed = seal.seal("key", bytes);
    assert_eq!((seal.open("key", &closed), seal.open("other", &closed)), (Some(bytes), None));
    if let Some(value) = seal.open("key", bytes) {
        assert_eq!(seal.seal("key", value), bytes, "opened without a seal");
    }
    let other = Seal::new(bytes).expect("any secret");
    assert_eq!(other.open("key", &closed).is_some(), bytes == b"secret");
}

fn codec(bytes: &[u8]) {
    let read = || {
        let mut from = Reader::new(bytes, b"")?;
        let mut out = Writer::default();
        while !from.is_empty() {
            let text = from.bytes()?;
            out.bytes(text);
            if text.len() % 2 == 1 {
                out.optional_time(from.optional_time()?);
                out.duration(from.duration()?);
            }
        }
        Some(out.into_bytes())
    };
    assert!(read().is_none_or(|written| written == bytes), "another form of the same values");
    let number = names::number(bytes);
    assert_eq!(number.map(|number| number.to_le_bytes().to_vec()), number.map(|_| bytes.to_vec()));
    let version = number.unwrap_or_default();
    assert!(!announcement::is_due(version, version, || unreachable!()));
    assert_ne!(names::name(&[bytes, b"a"]), names::name(&[bytes, b"", b"a"]));
}

fn message(bytes: &[u8]) {
    if let Some(message) = Message::decode(bytes) {
        assert_eq!(message.encode(), bytes);
    }
}
