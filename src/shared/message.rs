//! What a worker tells another through the other's queue.

use super::manifest::CellName;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request of this worker was parked.
    Look,
    /// A worker came or went, or a configuration did.
    Peers,
    /// A shared record changed.
    Record(CellName),
}

impl Message {
    /// Reads a message. `None`: another plugin wrote it.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes {
            b"look" => Some(Self::Look),
            b"peers" => Some(Self::Peers),
            _ => bytes.try_into().ok().map(Self::Record),
        }
    }

    /// The bytes to send.
    pub fn encode(&self) -> &[u8] {
        match self {
            Self::Look => b"look",
            Self::Peers => b"peers",
            Self::Record(cell) => cell,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_it_encodes_and_nothing_else() {
        for message in [Message::Look, Message::Peers, Message::Record([7; 16])] {
            assert_eq!(Message::decode(message.encode()), Some(message));
        }
        for other in [&b""[..], b"w", &[7; 15], &[0xff; 300]] {
            assert_eq!(Message::decode(other), None);
        }
    }
}
