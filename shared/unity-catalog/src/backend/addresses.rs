//! IP access lists, compared by what they let in: the metastore may order and write them in its own way.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    /// The network's address and the length of its prefix.
    Block(IpAddr, u8),
    /// Something that is no CIDR block, as it stands.
    Other(String),
}

impl Entry {
    /// Reads `192.0.2.0/24`, or a single address; bits behind the prefix say nothing.
    fn read(text: &str) -> Self {
        Self::block(text.trim()).unwrap_or_else(|| Self::Other(text.to_owned()))
    }

    fn block(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most))?;
        let behind = u32::from(most - bits);
        Some(match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(behind).unwrap_or(0);
                Self::Block(IpAddr::from((address.to_bits() & mask).to_be_bytes()), bits)
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
                Self::Block(IpAddr::from((address.to_bits() & mask).to_be_bytes()), bits)
            }
        })
    }
}

/// Whether two lists have the same blocks, in any order and way of writing.
pub(super) fn same(one: &[String], other: &[String]) -> bool {
    let entries = |list: &[String]| list.iter().map(|text| Entry::read(text)).collect::<BTreeSet<_>>();
    entries(one) == entries(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn lists_are_the_same_if_they_let_the_same_blocks_in() {
        for (one, other) in [
            (vec![], vec![]),
            (vec!["198.51.100.0/24", "2001:db8::/32"], vec!["2001:DB8:0::/32", "198.51.100.9/24"]),
            (vec!["203.0.113.7"], vec!["203.0.113.7/32", "203.0.113.7"]),
            (vec!["0.0.0.0/0"], vec!["203.0.113.7/0"]),
            (vec!["::1"], vec!["0:0:0:0:0:0:0:1/128"]),
            (vec!["odd"], vec!["odd"]),
        ] {
            assert!(same(&list(&one), &list(&other)), "{one:?} {other:?}");
        }
        for (one, other) in [
            (vec![], vec!["0.0.0.0/0"]),
            (vec!["198.51.100.0/24"], vec!["198.51.100.0/25"]),
            (vec!["198.51.100.0/24"], vec!["198.51.101.0/24"]),
            (vec!["198.51.100.0/24"], vec!["198.51.100.0/24", "203.0.113.7"]),
            (vec!["0.0.0.0/0"], vec!["::/0"]),
            (vec!["198.51.100.0/33"], vec!["198.51.100.0/32"]),
        ] {
            assert!(!same(&list(&one), &list(&other)), "{one:?} {other:?}");
        }
    }

    proptest! {
        #[test]
        fn bits_behind_a_prefix_say_nothing(address in any::<u32>(), noise in any::<u32>(), bits in 0_u8..=32) {
            let behind = u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
            let text = |address: u32| vec![format!("{}/{bits}", std::net::Ipv4Addr::from_bits(address))];
            prop_assert!(same(&text(address), &text(address ^ (noise & behind))));
            prop_assert!(bits == 0 || !same(&text(address), &text(address ^ (1 << (32 - u32::from(bits))))));
        }
    }
}
