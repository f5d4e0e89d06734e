//! The same vectors inside Envoy, verified by the host and by the VM.

use jwks_gate_testbed::probe::{self, Probe};

use crate::{case::base64, signatures};

#[test]
fn host_and_vm_judge_as_published() {
    let mut probe = Probe::start();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for cases in signatures::all().chunks(50) {
        let requested: Vec<_> = cases
            .iter()
            .map(|case| probe::Case {
                algorithm: case.algorithm.to_owned(),
                key: case.key.clone(),
                message: base64(&case.message),
                signature: base64(&case.signature),
            })
            .collect();
        let verdicts = probe.verify(&requested, 0).unwrap();
        assert_eq!(verdicts.len(), cases.len());
        for (case, verdict) in cases.iter().zip(verdicts) {
            count += 1;
            if verdict.good != [case.good; 2] {
                wrong.push(format!("{}: {:?} by host and VM", case.name, verdict.good));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    println!("{count} signatures, each by host and VM");
    assert!(count > 4_900);
}
