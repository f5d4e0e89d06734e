"""Removes and renames exports of a wasm module: strip_exports.py IN OUT

Envoy enters the VM for each callback that a module exports, and the SDK exports every callback. Callbacks that do nothing in
the filter cost each request several microseconds.

A function that the filter exports as `own_<callback>` takes the place of the SDK's `<callback>`: two functions of one program
cannot have one name.
"""

import sys

EXPORT_SECTION = 7
OWN = "own_"
KEPT_CALLBACKS = {
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_http_call_response",
    "proxy_on_memory_allocate",
    "proxy_on_queue_ready",
    "proxy_on_request_body",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_tick",
    "proxy_on_vm_start",
}


def read_number(data, at):
    """Reads an unsigned LEB128 number. Returns the number and the offset after it."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def number(value):
    """Encodes an unsigned LEB128 number."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def used_callbacks(section):
    """Returns an export section's content with the callbacks that the filter uses."""
    count, at = read_number(section, 0)
    exports = {}
    for _ in range(count):
        length, at = read_number(section, at)
        name, start = section[at : at + length].decode(), at + length
        _, at = read_number(section, start + 1)
        exports[name] = section[start:at]
    for name in [name for name in exports if name.startswith(OWN)]:
        assert name[len(OWN) :] in exports, f"{name} takes the place of nothing"
        exports[name[len(OWN) :]] = exports.pop(name)
    kept = {name: item for name, item in exports.items() if not name.startswith("proxy_on_") or name in KEPT_CALLBACKS}
    return number(len(kept)) + b"".join(number(len(name)) + name.encode() + item for name, item in kept.items())


def main(source, target):
    """Copies a module section by section."""
    with open(source, "rb") as file:
        data = file.read()
    assert data[:8] == b"\0asm\1\0\0\0", "not a wasm module"
    out, at = bytearray(data[:8]), 8
    while at < len(data):
        kind = data[at]
        length, start = read_number(data, at + 1)
        content = data[start : start + length]
        if kind == EXPORT_SECTION:
            content = used_callbacks(content)
        out += bytes([kind]) + number(len(content)) + content
        at = start + length
    with open(target, "wb") as file:
        file.write(out)


main(*sys.argv[1:])
