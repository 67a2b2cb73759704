//! IP allow lists: CIDR blocks of both families.

use std::net::{IpAddr, Ipv6Addr};

/// A block of addresses, such as `198.51.100.0/24` or `2001:db8::/32`. A lone address is a block of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix_bits: u32,
}

impl Cidr {
    /// Reads a block; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().ok()?;
        let bits_max = bits(network).1;
        let prefix_bits = match prefix {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
            None => bits_max,
        };
        (prefix_bits <= bits_max).then_some(Self { network, prefix_bits })
    }

    /// Whether an address is in the block. An IPv4 address written as IPv6 (`::ffff:…`) counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let ((network, bits_max), (address, address_bits)) = (bits(self.network), bits(address.to_canonical()));
        let differing = (network ^ address).checked_shr(bits_max - self.prefix_bits).unwrap_or(0);
        bits_max == address_bits && differing == 0
    }
}

/// An address as a number, and its width.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), Ipv6Addr::BITS),
    }
}

/// Whether an allow list lets an address read. An empty list lets everybody, a list that is not empty lets nobody
/// whose address is unknown, and an entry that is not a block lets nobody.
#[must_use]
pub fn allows(list: &[String], address: Option<IpAddr>) -> bool {
    let listed = |address| list.iter().filter_map(|entry| Cidr::parse(entry)).any(|block| block.contains(address));
    list.is_empty() || address.is_some_and(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_contain_their_addresses() {
        for (block, address, expected) in [
            ("198.51.100.0/24", "198.51.100.255", true),
            ("198.51.100.0/24", "198.51.101.0", false),
            ("198.51.100.7/24", "198.51.100.9", true),
            ("198.51.100.7", "198.51.100.7", true),
            ("198.51.100.7", "198.51.100.8", false),
            ("198.51.100.7/32", "198.51.100.7", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.9", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("198.51.100.0/24", "::ffff:198.51.100.3", true),
        ] {
            let block = Cidr::parse(block).unwrap();
            assert_eq!(block.contains(address.parse().unwrap()), expected, "{block:?} {address}");
        }
    }

    #[test]
    fn what_is_not_a_block_is_refused() {
        for text in ["", "/", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/+8", "1.2.3.4/8/8", "::/129", "a.test"] {
            assert_eq!(Cidr::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_lets_only_its_blocks_read() {
        let list = |entries: &[&str]| entries.iter().map(ToString::to_string).collect::<Vec<_>>();
        let address = Some("198.51.100.7".parse().unwrap());
        assert!(allows(&[], None));
        assert!(allows(&list(&["2001:db8::/32", "198.51.100.0/24"]), address));
        assert!(!allows(&list(&["2001:db8::/32"]), address));
        assert!(!allows(&list(&["198.51.100.0/24"]), None));
        assert!(!allows(&list(&["garbled"]), address));
    }
}
