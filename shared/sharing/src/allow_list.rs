//! IP allow lists: CIDR blocks of both families.

use std::net::{IpAddr, Ipv6Addr};

/// How many bits come before the IPv4 address in an IPv6 address that stands for one (`::ffff:0:0/96`).
const MAPPED_BITS: u32 = 96;

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
        if prefix_bits > bits_max {
            return None;
        }
        // A block of IPv4 addresses that is written as IPv6 is a block of IPv4 addresses.
        let mapped = match network {
            IpAddr::V6(network) => network.to_ipv4_mapped().zip(prefix_bits.checked_sub(MAPPED_BITS)),
            IpAddr::V4(_) => None,
        };
        let (network, prefix_bits) = mapped.map_or((network, prefix_bits), |(network, bits)| (network.into(), bits));
        Some(Self { network, prefix_bits })
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
    use proptest::prelude::*;

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
            ("::ffff:198.51.100.0/120", "198.51.100.3", true),
            ("::ffff:198.51.100.0/120", "::ffff:198.51.100.3", true),
            ("::ffff:198.51.100.0/120", "198.51.101.3", false),
            ("::ffff:198.51.100.7", "198.51.100.7", true),
            ("::ffff:0:0/95", "198.51.100.7", false),
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

    /// The first bits of an address as text: the rule said in another way.
    fn leading(address: IpAddr, bits: usize) -> String {
        let text = match address {
            IpAddr::V4(address) => format!("{:032b}", address.to_bits()),
            IpAddr::V6(address) => format!("{:0128b}", address.to_bits()),
        };
        text[..bits].to_owned()
    }

    /// Addresses of both families, none of them written as the other.
    fn addresses() -> impl Strategy<Value = IpAddr> {
        let six = any::<Ipv6Addr>().prop_map(|address| IpAddr::V6(address).to_canonical());
        prop_oneof![any::<std::net::Ipv4Addr>().prop_map(IpAddr::V4), six]
    }

    proptest! {
        #[test]
        fn a_block_holds_what_begins_as_it_does(network in addresses(), other in addresses(), length in 0_usize..=128) {
            let longest = if network.is_ipv4() { 32 } else { 128 };
            let length = length.min(longest);
            let block = Cidr::parse(&format!("{network}/{length}")).unwrap();
            let same_family = network.is_ipv4() == other.is_ipv4();
            let expected = same_family && leading(network, length) == leading(other, length);
            prop_assert_eq!(block.contains(other), expected);
            prop_assert!(block.contains(network));
        }

        #[test]
        fn one_bit_decides(network in addresses(), length in 0_usize..=128, flipped in 0_usize..128) {
            let longest = if network.is_ipv4() { 32 } else { 128 };
            let (length, flipped) = (length.min(longest), flipped % longest);
            let bit = 1_u128 << (longest - 1 - flipped);
            let other = match network {
                IpAddr::V4(address) => IpAddr::V4((address.to_bits() ^ u32::try_from(bit).unwrap()).into()),
                IpAddr::V6(address) => IpAddr::V6((address.to_bits() ^ bit).into()),
            };
            let block = Cidr::parse(&format!("{network}/{length}")).unwrap();
            prop_assert_eq!(block.contains(other), flipped >= length);
        }

        #[test]
        fn an_ipv4_address_is_the_same_however_it_is_written(
            network: std::net::Ipv4Addr, other: std::net::Ipv4Addr, length in 0_u32..=32,
        ) {
            let (plain, mapped) = (format!("{network}/{length}"), format!("{}/{}", network.to_ipv6_mapped(), length + 96));
            let expected = Cidr::parse(&plain).unwrap().contains(other.into());
            for block in [plain, mapped] {
                for address in [IpAddr::V4(other), IpAddr::V6(other.to_ipv6_mapped())] {
                    prop_assert_eq!(Cidr::parse(&block).unwrap().contains(address), expected);
                }
            }
        }

        #[test]
        fn no_text_stops_the_reader(text in ".{0,60}") {
            let _ = Cidr::parse(&text);
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
