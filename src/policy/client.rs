//! Which client a request comes from, as far as sharing the room for waiting requests needs to know.

use core::net::{IpAddr, SocketAddr};

use crate::ids::ClientId;

/// The client behind Envoy's attribute `source.address`. An IPv6 client counts by its /64 prefix, since a client chooses the
/// rest. Requests without a readable address count as one client.
pub fn client(address: &[u8]) -> ClientId {
    let address = std::str::from_utf8(address).ok().and_then(|text| text.parse::<SocketAddr>().ok());
    match address.map(|address| address.ip().to_canonical()) {
        Some(IpAddr::V4(address)) => ClientId(address.to_bits().into()),
        // Prefixes of addresses in use begin with a bit other than zero, so that none meets an IPv4 address.
        Some(IpAddr::V6(address)) => ClientId((address.to_bits() >> 64) as u64),
        None => ClientId::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_interface_identifiers_do_not_make_a_client() {
        let one = client(b"192.0.2.1:1234");
        assert_eq!((client(b"192.0.2.1:1"), client(b"[::ffff:192.0.2.1]:2")), (one, one));
        assert_ne!(client(b"192.0.2.2:1234"), one);
        assert_eq!(client(b"[2001:db8::1]:1"), client(b"[2001:db8::2]:1"));
        assert_ne!(client(b"[2001:db8::1]:1"), client(b"[2001:db8:0:1::1]:1"));
        for unreadable in [&b""[..], b"@pipe", b"192.0.2.1", &[0xff; 9]] {
            assert_eq!(client(unreadable), ClientId::default());
        }
    }
}
