//! Connections between nodes: the handshake, and frames.
//!
//! ```text
//! dialer                                  acceptor           over the port that clients use too:
//! PREAMBLE, Hello  ─────────────────────▶                    the first byte tells them apart
//!                  ◀─────────────────────  Welcome, proof    proof: HMAC-SHA256 with the secret
//! proof            ─────────────────────▶                    over everything said so far
//! frame, frame …   ─────────────────────▶                    frame: length, CRC32C, message
//! ```
//!
//! A link carries messages one way, from the dialer: two nodes have one each. Both sides prove that
//! they know the cluster's secret before a message counts; nobody can replay a proof, since each
//! side puts in a nonce. The bytes are not encrypted.
//!
//! A `Hello` that only asks (`Purpose::Probe`) is how nodes find each other at the founding.

use std::io::{self, Read, Write};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use stdx::codec::{Malformed, Reader, put_bytes, put_u32, put_u64, put_varint};

use node::Map;
use node::limits::MESSAGE_BYTES_MAX;

/// What a connection of a node begins with. Its first byte can begin no command.
pub const PREAMBLE: [u8; 8] = *b"\xf5SYNOD\x00\x01";

/// Bytes of a message of the handshake: the map of a thousand nodes with the longest names.
const HELLO_BYTES_MAX: usize = 1024 * 1024;

const FRAME_HEAD_BYTES: usize = 8;
const PROOF_BYTES: usize = 32;

/// Sixteen bytes that name a cluster, a node for good, or one start of it.
pub type Id = [u8; 16];

/// Why a node calls another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To see who is there.
    Probe,
    /// To send messages.
    Link,
    /// To be taken into the cluster, from the address that it names.
    Join,
}

/// What a caller says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub purpose: Purpose,
    pub about: About,
    nonce: [u8; 32],
}

/// What a node says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Names this start of the process.
    pub instance: Id,
    /// Names the node for good, with its data: drawn before it joins.
    pub identity: Id,
    /// All zero before the node belongs to a cluster.
    pub cluster: Id,
    /// 0 before the node has a number.
    pub node: u32,
    /// Before it belongs to a cluster: the addresses that it was told to join, or, for
    /// `Purpose::Join`, its own.
    pub list: Vec<String>,
    /// How many shards the keys are in; 0 if this node was not told and the cluster not founded.
    pub shards: u32,
    /// How many replicas a shard is to have; 0 as above.
    pub replicas: u32,
    /// The newest map that it knows, once it belongs to a cluster.
    pub map: Option<Arc<Map>>,
}

impl About {
    /// Does it belong to a cluster?
    pub fn is_member(&self) -> bool {
        self.cluster != Id::default() && self.map.is_some()
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.instance);
        out.extend_from_slice(&self.identity);
        out.extend_from_slice(&self.cluster);
        put_varint(out, u64::from(self.node));
        put_varint(out, self.list.len() as u64);
        self.list.iter().for_each(|addr| put_bytes(out, addr.as_bytes()));
        put_varint(out, u64::from(self.shards));
        put_varint(out, u64::from(self.replicas));
        let mut map = Vec::new();
        self.map.iter().for_each(|known| known.encode(&mut map));
        put_bytes(out, &map);
    }

    /// Reads what `encode` wrote.
    pub fn decode(reader: &mut Reader<'_>) -> Result<About, Malformed> {
        let (instance, identity, cluster) = (read_id(reader)?, read_id(reader)?, read_id(reader)?);
        let node = reader.varint32()?;
        let list =
            reader.list(|reader| Ok(String::from_utf8_lossy(reader.bytes()?).into_owned()))?;
        let (shards, replicas) = (reader.varint32()?, reader.varint32()?);
        let map = match reader.bytes()? {
            [] => None,
            bytes => Some(Arc::new(Map::decode(bytes)?)),
        };
        Ok(About { instance, identity, cluster, node, list, shards, replicas, map })
    }
}

fn read_id(reader: &mut Reader<'_>) -> Result<Id, Malformed> {
    let mut id = Id::default();
    id.copy_from_slice(reader.take(16)?);
    Ok(id)
}

/// Why a handshake failed.
#[derive(Debug)]
pub enum HandshakeError {
    Io(io::Error),
    /// It is no node, or one of another version.
    NotANode,
    /// It is a node that has not joined a cluster yet.
    NoMember,
    /// It is a node of another cluster.
    OtherCluster,
    /// It is this node of the cluster, and another one is expected there.
    OtherNode(u32),
    /// It does not know the secret.
    WrongSecret,
}

impl std::fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HandshakeError::Io(error) => write!(f, "{error}"),
            HandshakeError::NotANode => write!(f, "no Synod node of this version answers there"),
            HandshakeError::NoMember => write!(f, "the node there has not joined a cluster yet"),
            HandshakeError::OtherCluster => write!(f, "a node of another cluster answers there"),
            HandshakeError::OtherNode(node) => write!(f, "node {node} answers there"),
            HandshakeError::WrongSecret => write!(f, "the other side has another cluster secret"),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        HandshakeError::Io(error)
    }
}

impl From<Malformed> for HandshakeError {
    fn from(_: Malformed) -> Self {
        HandshakeError::NotANode
    }
}

/// The caller's side. `nonce` is fresh for every call; the stream has timeouts set.
pub fn dial(
    stream: &mut (impl Read + Write),
    secret: &[u8],
    purpose: Purpose,
    about: &About,
    nonce: [u8; 32],
) -> Result<About, HandshakeError> {
    let hello = Hello { purpose, about: about.clone(), nonce };
    let mut said = Vec::new();
    hello.encode(&mut said);
    stream.write_all(&PREAMBLE)?;
    write_block(stream, &said)?;
    let welcome = read_block(stream)?;
    // It comes unasked, so a missing one says that the other side is gone, not that it minds.
    let mut proof = [0; PROOF_BYTES];
    stream.read_exact(&mut proof)?;
    said.extend_from_slice(&welcome);
    check_proof(secret, b"acceptor", &said, &proof)?;
    stream.write_all(&prove(secret, b"dialer", &said))?;
    let mut reader = Reader::new(&welcome);
    reader.take(32)?;
    Ok(About::decode(&mut reader)?)
}

/// The other side, behind the preamble.
pub fn accept(
    stream: &mut (impl Read + Write),
    secret: &[u8],
    about: &About,
    nonce: [u8; 32],
) -> Result<Hello, HandshakeError> {
    let mut said = read_block(stream)?;
    let hello = Hello::decode(&said)?;
    let mut welcome = nonce.to_vec();
    about.encode(&mut welcome);
    said.extend_from_slice(&welcome);
    write_block(stream, &welcome)?;
    stream.write_all(&prove(secret, b"acceptor", &said))?;
    let proof = read_proof(stream)?;
    check_proof(secret, b"dialer", &said, &proof)?;
    Ok(hello)
}

impl Hello {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.purpose {
            Purpose::Probe => 0,
            Purpose::Link => 1,
            Purpose::Join => 2,
        });
        out.extend_from_slice(&self.nonce);
        self.about.encode(out);
    }

    fn decode(bytes: &[u8]) -> Result<Hello, Malformed> {
        let mut reader = Reader::new(bytes);
        let purpose = match reader.byte()? {
            0 => Purpose::Probe,
            1 => Purpose::Link,
            2 => Purpose::Join,
            _ => return Err(reader.malformed()),
        };
        let mut nonce = [0; 32];
        nonce.copy_from_slice(reader.take(32)?);
        Ok(Hello { purpose, about: About::decode(&mut reader)?, nonce })
    }
}

fn prove(secret: &[u8], side: &[u8], said: &[u8]) -> [u8; PROOF_BYTES] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(side);
    mac.update(said);
    mac.finalize().into_bytes().into()
}

fn check_proof(
    secret: &[u8],
    side: &[u8],
    said: &[u8],
    proof: &[u8; PROOF_BYTES],
) -> Result<(), HandshakeError> {
    use subtle::ConstantTimeEq;
    let equal = bool::from(prove(secret, side, said).ct_eq(proof));
    if equal { Ok(()) } else { Err(HandshakeError::WrongSecret) }
}

fn write_block(stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let mut block = Vec::new();
    put_u32(&mut block, bytes.len() as u32);
    block.extend_from_slice(bytes);
    stream.write_all(&block)
}

fn read_block(stream: &mut impl Read) -> Result<Vec<u8>, HandshakeError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let length = u32::from_le_bytes(head) as usize;
    if length > HELLO_BYTES_MAX {
        return Err(HandshakeError::NotANode);
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_proof(stream: &mut impl Read) -> Result<[u8; PROOF_BYTES], HandshakeError> {
    let mut proof = [0; PROOF_BYTES];
    match stream.read_exact(&mut proof) {
        // The dialer hangs up when our proof does not convince it.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(HandshakeError::WrongSecret)
        }
        other => other.map(|()| proof).map_err(HandshakeError::Io),
    }
}

/// Appends a frame around what `write` appends.
pub fn put_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put_u64(out, 0);
    write(out);
    let body = start + FRAME_HEAD_BYTES;
    let length = (out.len() - body) as u32;
    let crc = crc32c::crc32c(&out[body..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..body].copy_from_slice(&crc.to_le_bytes());
}

/// What stands at the beginning of a link's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The message lies in this range; the next frame begins at its end.
    Whole { start: usize, end: usize },
    /// More bytes are needed.
    Partial,
    /// The bytes are damaged: the link must be cut.
    Damaged,
}

/// Looks at the first frame.
pub fn first_frame(bytes: &[u8]) -> Frame {
    let Some(head) = bytes.get(..FRAME_HEAD_BYTES) else { return Frame::Partial };
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = number(0) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Frame::Damaged;
    }
    let end = FRAME_HEAD_BYTES + length;
    match bytes.get(FRAME_HEAD_BYTES..end) {
        None => Frame::Partial,
        Some(body) if crc32c::crc32c(body) == number(4) => {
            Frame::Whole { start: FRAME_HEAD_BYTES, end }
        }
        Some(_) => Frame::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    fn about(node: u32) -> About {
        let founders = [("a:1".to_owned(), [7; 16]), ("b:2".to_owned(), [8; 16])];
        let map = Map::founding(node::Shards::new(16).unwrap(), 3, &founders).unwrap();
        About {
            instance: [node as u8; 16],
            identity: [7; 16],
            cluster: [9; 16],
            node,
            list: vec!["a:1".to_owned(), "b:2".to_owned()],
            shards: 16,
            replicas: 3,
            map: Some(Arc::new(map)),
        }
    }

    fn shake(ours: &'static [u8], theirs: &'static [u8]) -> (bool, bool) {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let acceptor = thread::spawn(move || {
            let mut preamble = [0; 8];
            other.read_exact(&mut preamble).unwrap();
            assert_eq!(preamble, PREAMBLE);
            accept(&mut other, theirs, &about(2), [2; 32])
        });
        let dialed = dial(&mut one, ours, Purpose::Link, &about(1), [1; 32]);
        drop(one);
        let accepted = acceptor.join().unwrap();
        if let (Ok(welcome), Ok(hello)) = (&dialed, &accepted) {
            assert_eq!((welcome, &hello.about), (&about(2), &about(1)));
        }
        (dialed.is_ok(), accepted.is_ok())
    }

    #[test]
    fn two_nodes_with_one_secret_learn_of_each_other() {
        assert_eq!(shake(b"secret", b"secret"), (true, true));
        assert_eq!(shake(b"", b""), (true, true));
    }

    #[test]
    fn another_secret_is_refused_on_both_sides() {
        assert_eq!(shake(b"secret", b"guess"), (false, false));
    }

    #[test]
    fn a_frame_comes_back_and_a_damaged_one_is_seen() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, |out| out.extend_from_slice(b"hello"));
        let end = bytes.len();
        put_frame(&mut bytes, |_| {});
        assert_eq!(first_frame(&bytes), Frame::Whole { start: 8, end });
        assert_eq!(first_frame(&bytes[end..]), Frame::Whole { start: 8, end: 8 });
        for cut in 0..end {
            assert_eq!(first_frame(&bytes[..cut]), Frame::Partial);
        }
        bytes[10] ^= 1;
        assert_eq!(first_frame(&bytes), Frame::Damaged);
        bytes[3] = 0xff;
        assert_eq!(first_frame(&bytes), Frame::Damaged);
    }
}
