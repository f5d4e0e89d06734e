//! What the filter asks of its host, and what the host calls. Envoy loads no module that imports a function it lacks, so after a change
//! of these lists, the tests run once more with the oldest Envoy that the README names (`JWKS_GATE_ENVOY`).

use std::{collections::BTreeSet, fs};

use jwks_gate_testbed::wasm_path;

const WASI: [&str; 2] = ["environ_get", "environ_sizes_get"];
const IMPORTS: [&str; 23] = [
    "proxy_add_header_map_value",
    "proxy_call_foreign_function",
    "proxy_continue_stream",
    "proxy_define_metric",
    "proxy_dequeue_shared_queue",
    "proxy_enqueue_shared_queue",
    "proxy_get_buffer_bytes",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_header_map_pairs",
    "proxy_get_property",
    "proxy_get_shared_data",
    "proxy_http_call",
    "proxy_increment_metric",
    "proxy_log",
    "proxy_record_metric",
    "proxy_register_shared_queue",
    "proxy_remove_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_send_local_response",
    "proxy_set_effective_context",
    "proxy_set_property",
    "proxy_set_shared_data",
    "proxy_set_tick_period_milliseconds",
];
const EXPORTS: [&str; 13] = [
    "_initialize",
    "malloc",
    "proxy_abi_version_0_2_1",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_http_call_response",
    "proxy_on_queue_ready",
    "proxy_on_request_body",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_tick",
    "proxy_on_vm_start",
];

/// Reads a WebAssembly module.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> usize {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let byte = usize::from(self.take(1)[0]);
            number |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }

    fn name(&mut self) -> &'a str {
        let length = self.number();
        std::str::from_utf8(self.take(length)).unwrap()
    }
}

/// The section of this number, after its count of entries, and the count.
fn section(module: &[u8], wanted: u8) -> (Bytes<'_>, usize) {
    let mut module = Bytes(&module[8..]);
    loop {
        let (id, length) = (module.take(1)[0], module.number());
        let mut section = Bytes(module.take(length));
        if id == wanted {
            let count = section.number();
            return (section, count);
        }
    }
}

#[test]
fn the_filter_needs_and_offers_what_the_oldest_tested_envoy_knows() {
    let module = fs::read(wasm_path()).unwrap();
    let (mut section_of_imports, count) = section(&module, 2);
    let imports: BTreeSet<_> = (0..count)
        .map(|_| {
            let name = (section_of_imports.name(), section_of_imports.name());
            assert_eq!(section_of_imports.take(1), [0], "{name:?} is no function");
            section_of_imports.number();
            name
        })
        .collect();
    let expected = IMPORTS.map(|name| ("env", name)).into_iter();
    let expected = expected.chain(WASI.map(|name| ("wasi_snapshot_preview1", name)));
    assert_eq!(imports, expected.collect());

    let (mut section_of_exports, count) = section(&module, 7);
    let exports = (0..count).filter_map(|_| {
        let (name, kind) = (section_of_exports.name(), section_of_exports.take(1)[0]);
        section_of_exports.number();
        (kind == 0).then_some(name)
    });
    assert_eq!(exports.collect::<BTreeSet<_>>(), EXPORTS.into());
}
