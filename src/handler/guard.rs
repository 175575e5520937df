//! Decides whether an address may be dialled: a table and an order, no I/O.
//!
//! The order: always refused, `deny_cidrs`, `allow_cidrs` or `allow_hosts`, the profile. A mapped address is judged as its
//! IPv4 address; compatible, NAT64 and 6to4 forms by themselves and by the address inside of them: both must pass.
//!
//! Source: http-contract, section 10 (Svix's and smokescreen's lists, the IANA special-purpose registries).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::egress::Profile;

/// What `egress` says, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) profile: Profile,
    pub(super) allow: Vec<IpNet>,
    pub(super) deny: Vec<IpNet>,
}

/// An address about to be dialled, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dial {
    pub(super) ip: IpAddr,
    /// Whether the URL's scheme is `https`.
    pub(super) https: bool,
    /// Whether `allow_hosts` names the host.
    pub(super) host_allowed: bool,
    /// Whether it is Weir's own `listen` address.
    pub(super) own: bool,
    /// Whether it is an address of one of this host's interfaces.
    pub(super) local: bool,
}

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A cloud's metadata service.
    Metadata,
    /// Weir's own `listen` address.
    Own,
    /// In `deny_cidrs`.
    Denied,
    /// Not `https`, under the profile `public`.
    Plain,
    /// An address of this host, under the profile `public`.
    Local,
    /// In a network that the profile refuses.
    Profile(Profile),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Metadata => "a cloud's metadata service is never dialled",
            Refusal::Own => "it is Weir's own listen address",
            Refusal::Denied => "it is in egress.deny_cidrs",
            Refusal::Plain => "egress profile public allows https only",
            Refusal::Local => "egress profile public refuses addresses of this host",
            Refusal::Profile(Profile::Internal) => "egress profile internal refuses it",
            Refusal::Profile(Profile::Public) => "egress profile public refuses it",
        })
    }
}

/// Whether `dial` may be dialled.
pub(super) fn judge(rules: &Rules, dial: Dial) -> Result<(), Refusal> {
    let (ip, inner) = forms(dial.ip);
    if dial.own {
        return Err(Refusal::Own);
    }
    let every = || std::iter::once(ip).chain(inner.iter().flatten().copied());
    if every().any(|ip| ALWAYS.contains(&ip)) {
        return Err(Refusal::Metadata);
    }
    // The second reading of a NAT64 prefix is for the list above only: in most networks its bits are not an address.
    for ip in std::iter::once(ip).chain(inner.first().copied().flatten()) {
        judge_one(rules, dial, ip)?;
    }
    Ok(())
}

fn judge_one(rules: &Rules, dial: Dial, ip: IpAddr) -> Result<(), Refusal> {
    if rules.deny.iter().any(|net| net.contains(&ip)) {
        return Err(Refusal::Denied);
    }
    if dial.host_allowed || rules.allow.iter().any(|net| net.contains(&ip)) {
        return Ok(());
    }
    let public = rules.profile == Profile::Public;
    if public && !dial.https {
        return Err(Refusal::Plain);
    }
    let refused = match ip {
        IpAddr::V4(ip) => {
            let nets: &[Ipv4Net] = if public { &PUBLIC_V4 } else { &INTERNAL_V4 };
            nets.iter().any(|net| net.contains(&ip))
        }
        IpAddr::V6(ip) => {
            let nets: &[Ipv6Net] = if public { &PUBLIC_V6 } else { &INTERNAL_V6 };
            nets.iter().any(|net| net.contains(&ip))
        }
    };
    if refused {
        return Err(Refusal::Profile(rules.profile));
    }
    if public && dial.local { Err(Refusal::Local) } else { Ok(()) }
}

/// The address to judge, and the IPv4 addresses inside of it.
fn forms(ip: IpAddr) -> (IpAddr, [Option<IpAddr>; 2]) {
    let IpAddr::V6(v6) = ip else { return (ip, [None, None]) };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return (IpAddr::V4(v4), [None, None]);
    }
    let [a, b, c, d, e, .., g, h] = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
    };
    let inner = match (a, b, c) {
        (0, 0, 0) if COMPATIBLE.contains(&v6) && v6 != Ipv6Addr::UNSPECIFIED && v6 != Ipv6Addr::LOCALHOST => {
            [v4(g, h), None]
        }
        (0x64, 0xff9b, 0) if NAT64.contains(&v6) => [v4(g, h), None],
        // RFC 8215: as a /96 the address stands at the end, as a /48 around the octet that RFC 6052 keeps free.
        (0x64, 0xff9b, 1) => [v4(g, h), v4(d, (e << 8) | (v6.segments()[5] >> 8))],
        (0x2002, ..) => [v4(b, c), None],
        _ => [None, None],
    };
    (ip, inner)
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

const COMPATIBLE: Ipv6Net = v6(0, 0, 0, 96);
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);

const ALWAYS: [IpAddr; 8] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

const INTERNAL_V4: [Ipv4Net; 4] =
    [v4(0, 0, 0, 0, 8), v4(169, 254, 0, 0, 16), v4(224, 0, 0, 0, 4), v4(255, 255, 255, 255, 32)];

const INTERNAL_V6: [Ipv6Net; 3] = [v6(0, 0, 0, 128), v6(0xfe80, 0, 0, 10), v6(0xff00, 0, 0, 8)];

const PUBLIC_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
    v4(255, 255, 255, 255, 32),
];

/// `::/96` holds `::` and `::1` too; mapped addresses are judged as IPv4 before this table is asked.
const PUBLIC_V6: [Ipv6Net; 14] = [
    COMPATIBLE,
    NAT64,
    v6(0x64, 0xff9b, 1, 48),
    v6(0x100, 0, 0, 64),
    v6(0x2001, 0, 0, 32),
    v6(0x2001, 0xdb8, 0, 32),
    v6(0x2002, 0, 0, 16),
    v6(0x3fff, 0, 0, 20),
    v6(0x5f00, 0, 0, 16),
    v6(0xfc00, 0, 0, 7),
    v6(0xfe80, 0, 0, 10),
    v6(0xfec0, 0, 0, 10),
    v6(0xff00, 0, 0, 8),
    Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(profile: Profile, allow: &[&str], deny: &[&str]) -> Rules {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Rules { profile, allow: nets(allow), deny: nets(deny) }
    }

    fn verdict(rules: &Rules, ip: &str) -> Result<(), Refusal> {
        let ip = ip.parse().unwrap();
        judge(rules, Dial { ip, https: true, host_allowed: false, own: false, local: false })
    }

    /// First and last of a network, and what stands just before and after it.
    fn edges(net: IpNet) -> ([IpAddr; 2], [Option<IpAddr>; 2]) {
        match net {
            IpNet::V4(net) => {
                let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
                let ip = |n: u32| IpAddr::V4(n.into());
                ([ip(first), ip(last)], [first.checked_sub(1).map(ip), last.checked_add(1).map(ip)])
            }
            IpNet::V6(net) => {
                let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
                let ip = |n: u128| IpAddr::V6(n.into());
                ([ip(first), ip(last)], [first.checked_sub(1).map(ip), last.checked_add(1).map(ip)])
            }
        }
    }

    /// The contract's own words, written down apart from the table above.
    const INTERNAL: &str =
        "0.0.0.0/8 169.254.0.0/16 224.0.0.0/4 255.255.255.255/32 ::/128 fe80::/10 ff00::/8";
    const PUBLIC: &str = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 \
        192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 \
        240.0.0.0/4 255.255.255.255/32 ::/128 ::1/128 ::/96 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 \
        2001::/32 2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8";

    #[test]
    fn first_last_and_just_outside_of_each_range() {
        for (profile, table) in [(Profile::Internal, INTERNAL), (Profile::Public, PUBLIC)] {
            let rules = rules(profile, &[], &[]);
            let nets: Vec<IpNet> = table.split_whitespace().map(|net| net.parse().unwrap()).collect();
            for net in &nets {
                let (inside, outside) = edges(*net);
                for ip in inside {
                    // ::ffff:0:0/96 is judged as IPv4: its ends are 0.0.0.0 and 255.255.255.255, both refused.
                    assert!(verdict(&rules, &ip.to_string()).is_err(), "{profile:?}: {ip} of {net} passes");
                }
                for ip in outside.into_iter().flatten() {
                    let elsewhere = nets.iter().any(|net| net.contains(&ip)) || forms(ip).1[0].is_some();
                    assert!(
                        elsewhere || verdict(&rules, &ip.to_string()).is_ok(),
                        "{profile:?}: {ip} beside {net} is refused"
                    );
                }
            }
        }
    }

    #[test]
    fn metadata_is_refused_even_where_it_is_allowed() {
        let open = rules(Profile::Internal, &["0.0.0.0/0", "::/0"], &[]);
        for ip in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:a9fe:a9fe::1",
        ] {
            assert_eq!(verdict(&open, ip), Err(Refusal::Metadata), "{ip}");
        }
        let beside =
            ["169.254.169.253", "169.254.170.3", "100.100.100.201", "168.63.129.17", "fd00:ec2::255"];
        for ip in beside {
            assert_eq!(verdict(&open, ip), Ok(()), "{ip}");
        }
        let host = Dial {
            ip: "169.254.169.254".parse().unwrap(),
            https: true,
            host_allowed: true,
            own: false,
            local: false,
        };
        assert_eq!(judge(&open, host), Err(Refusal::Metadata));
        let own = Dial { ip: "127.0.0.1".parse().unwrap(), own: true, ..host };
        assert_eq!(judge(&open, own), Err(Refusal::Own));
    }

    #[test]
    fn an_inner_address_must_pass_as_well() {
        let internal = rules(Profile::Internal, &[], &[]);
        let public = rules(Profile::Public, &["64:ff9b::/96", "2002::/16", "::/96"], &[]);
        for (ip, under_internal, under_public) in [
            ("::ffff:10.0.0.1", true, false),
            ("::ffff:8.8.8.8", true, true),
            ("::ffff:224.0.0.1", false, false),
            ("::10.0.0.1", true, false),
            ("::8.8.8.8", true, true),
            ("::169.254.0.1", false, false),
            ("64:ff9b::8.8.8.8", true, true),
            ("64:ff9b::10.0.0.1", true, false),
            ("64:ff9b::127.0.0.1", true, false),
            ("64:ff9b::169.254.0.1", false, false),
            ("2002:808:808::1", true, true),
            ("2002:a00:1::1", true, false),
            ("2002:a9fe:1::1", false, false),
        ] {
            assert_eq!(verdict(&internal, ip).is_ok(), under_internal, "internal {ip}");
            assert_eq!(verdict(&public, ip).is_ok(), under_public, "public {ip}");
        }
    }

    #[test]
    fn the_order_is_deny_allow_profile() {
        let both = rules(Profile::Public, &["10.0.0.0/8"], &["10.1.0.0/16"]);
        assert_eq!(verdict(&both, "10.2.0.1"), Ok(()));
        assert_eq!(verdict(&both, "10.1.0.1"), Err(Refusal::Denied));
        assert_eq!(verdict(&both, "::ffff:10.1.0.1"), Err(Refusal::Denied));
        let dial = |ip: &str, https, host_allowed, local| Dial {
            ip: ip.parse().unwrap(),
            https,
            host_allowed,
            own: false,
            local,
        };
        assert_eq!(judge(&both, dial("192.168.0.1", false, true, true)), Ok(()));
        assert_eq!(judge(&both, dial("10.1.0.1", true, true, false)), Err(Refusal::Denied));
        assert_eq!(judge(&both, dial("8.8.8.8", false, false, false)), Err(Refusal::Plain));
        assert_eq!(judge(&both, dial("10.2.0.1", false, false, false)), Ok(()));
        assert_eq!(judge(&both, dial("8.8.8.8", true, false, true)), Err(Refusal::Local));
        let internal = rules(Profile::Internal, &[], &[]);
        assert_eq!(judge(&internal, dial("127.0.0.1", false, false, true)), Ok(()));
    }
}
