//! A node as the ring sees it: a number, a weight, a failure zone.

use std::fmt;

use crate::Error;
use crate::limits::{WEIGHT_MAX, ZONE_BYTES_MAX};

/// The number of a node. It decides the node's places on the circle, so a node that comes back
/// under its number gets back where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What may fail together: a rack, a room, a region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Zone(String);

impl Zone {
    /// A zone of this name.
    pub fn new(name: &str) -> Result<Zone, Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
        if (1..=ZONE_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain) {
            Ok(Zone(name.to_owned()))
        } else {
            Err(Error::ZoneName { zone: name.chars().take(ZONE_BYTES_MAX).collect() })
        }
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a node is if nobody says: all such nodes are in one zone, which then asks nothing of a
/// placement.
impl Default for Zone {
    fn default() -> Zone {
        Zone("default".to_owned())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How much a node takes, and what it fails with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    weight: u32,
    zone: Zone,
}

impl Node {
    /// A node that takes `weight` times what one of weight 1 does.
    pub fn new(weight: u32, zone: Zone) -> Result<Node, Error> {
        if !(1..=WEIGHT_MAX).contains(&weight) {
            return Err(Error::Weight { weight });
        }
        Ok(Node { weight, zone })
    }

    /// Its weight: 1 to [`WEIGHT_MAX`].
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Its zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }
}

#[cfg(test)]
mod tests {
    use super::{Node, Zone};

    #[test]
    fn weights_and_zones_out_of_bounds_are_refused_in_words() {
        let told = |weight| Node::new(weight, Zone::default()).unwrap_err().to_string();
        assert!(told(0).contains("weight 0 would hold nothing"), "{}", told(0));
        assert!(told(101).contains("the heaviest node weighs 100"), "{}", told(101));
        for name in ["", "a b", "a,b", "ä", &"z".repeat(65)] {
            assert!(Zone::new(name).unwrap_err().to_string().contains("no name of a zone"));
        }
        assert_eq!(Zone::new("eu-1/rack:7_b.x").unwrap().as_str(), "eu-1/rack:7_b.x");
    }
}
