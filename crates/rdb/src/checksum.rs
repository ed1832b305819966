//! The checksum behind a dump: CRC-64 after Jones, reflected, from zero.

use crc::{CRC_64_REDIS, Crc, Digest, Table};

/// Sixteen tables take 32 KiB and 0.4 s less for a GiB than one.
static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// Over the bytes so far.
pub(crate) type Checksum = Digest<'static, u64, Table<16>>;

pub(crate) fn begin() -> Checksum {
    CRC.digest()
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_one_of_redis() {
        let mut checksum = super::begin();
        checksum.update(b"1234");
        checksum.update(b"56789");
        assert_eq!(checksum.finalize(), 0xe9c6_d914_c4b8_d9ca);
    }
}
