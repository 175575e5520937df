//! The commit metadata: laws as properties, and the vectors of the webhook contract.

use std::ops::Range;

use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;

use super::{Cause, Cut, DEFAULT_LIMIT, Decoded, PREFIX, Phase, Restored, Retry, View, bytes_within, decode};
use crate::flow::position::NextOffset;
use crate::outcome::{Code, Reason};

const TOPIC: [u8; 4] = [0x0a, 0x1b, 0x2c, 0x3d];

/// The first vector of the contract.
fn vector() -> Restored {
    let retry =
        |offset, attempts, due_in, tried_for, phase| Retry { offset, attempts, due_in, tried_for, phase };
    Restored {
        next: NextOffset(1000),
        partitions: 12,
        crashes: 1,
        open: true,
        clock: 1_767_225_600,
        done: vec![1001..1003, 1005..1011],
        retries: vec![
            retry(1003, 3, 30, 45, Phase::Try),
            retry(1004, 8, 0, 600, Phase::DeadLetter(Reason::Exhausted, Code::Status)),
        ],
    }
}

const VECTOR: &str = "weir1.BwobLD3oBwwBgPLWygYC5gcCAwMeLQABCADYBAECCxi_FU0";

fn encode(said: &Restored, limit: usize) -> (String, Cut) {
    let view = View {
        topic: TOPIC,
        base: said.next.0,
        partitions: said.partitions,
        crashes: said.crashes,
        open: said.open,
        clock: said.clock,
        done: &said.done,
        retries: &said.retries,
    };
    view.encode(limit)
}

fn read_back(text: &str, next: NextOffset) -> Restored {
    match decode(text.as_bytes(), next, TOPIC) {
        Decoded::Restored(restored) => restored,
        other => panic!("{other:?} of {text}"),
    }
}

/// A text of these fields, with a checksum that is right.
fn seal(fields: &[u8]) -> String {
    let mut bytes = fields.to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(fields).to_le_bytes());
    format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
}

fn fields(text: &str) -> Vec<u8> {
    let mut bytes = BASE64URL_NOPAD.decode(&text.as_bytes()[PREFIX.len()..]).unwrap();
    bytes.truncate(bytes.len() - 4);
    bytes
}

#[test]
fn the_vectors_of_the_contract_hold() {
    assert_eq!(encode(&vector(), DEFAULT_LIMIT), (VECTOR.to_owned(), Cut::default()));
    assert_eq!(read_back(VECTOR, NextOffset(1000)), vector());
    let quiet = Restored { crashes: 0, done: vec![], retries: vec![], ..vector() };
    assert_eq!(encode(&quiet, DEFAULT_LIMIT).0, "weir1.BAobLD3oBwwAgPLWygYAmlDydA");
}

fn phases() -> impl Strategy<Value = Phase> {
    let reasons =
        prop::sample::select(vec![Reason::Invalid, Reason::Rejected, Reason::Exhausted, Reason::Parked]);
    prop_oneof![
        6 => Just(Phase::Try),
        2 => (reasons, prop::sample::select(Code::ALL)).prop_map(|(reason, code)| Phase::DeadLetter(reason, code)),
        1 => Just(Phase::Row),
        1 => Just(Phase::Publish),
        1 => Just(Phase::FirstLone),
        1 => Just(Phase::SecondLone),
    ]
}

/// One stretch above the base: how many records are not done, whether they are tried, and how many done ones follow.
type Stretch = (Vec<Option<(u32, u64, u64, Phase)>>, u64, u64);

fn stretches(most: usize) -> impl Strategy<Value = Vec<Stretch>> {
    let tried = prop::option::weighted(0.4, (1_u32..200, 0_u64..90_000, 0_u64..1_000_000, phases()));
    let far = prop_oneof![8 => Just(0), 1 => 1_u64..100_000, 1 => 1_u64..2_000_000_000];
    let done = prop_oneof![8 => 1_u64..20, 2 => 1_u64..3_000, 1 => 1_u64..2_000_000_000];
    prop::collection::vec((prop::collection::vec(tried, 1..6), far, done), 0..most)
}

fn said(base: i64, stretches: &[Stretch], open: bool, crashes: u32) -> Restored {
    let mut said = Restored { open, crashes, clock: 1_767_225_600, ..Restored::fresh(NextOffset(base), 12) };
    let mut at = base;
    for (undone, far, done) in stretches {
        for tried in undone {
            if let Some((attempts, due_in, tried_for, phase)) = *tried {
                said.retries.push(Retry { offset: at, attempts, due_in, tried_for, phase });
            }
            at += 1;
        }
        at += i64::try_from(*far).unwrap();
        let end = at + i64::try_from(*done).unwrap();
        said.done.push(at..end);
        at = end;
    }
    said
}

fn total(done: &[Range<i64>]) -> u64 {
    done.iter().map(|range| u64::try_from(range.end - range.start).unwrap()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What is written is read again, all of it, where it fits.
    #[test]
    fn restores(base in 0_i64..1_i64 << 50, stretches in stretches(60), open: bool, crashes in 0_u32..9) {
        let said = said(base, &stretches, open, crashes);
        let (text, cut) = encode(&said, 1 << 20);
        prop_assert_eq!(cut, Cut::default());
        if text.len() <= DEFAULT_LIMIT {
            prop_assert_eq!(read_back(&text, said.next), said);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Never above the limit; what is missing is counted, and nothing is made up.
    #[test]
    fn fits(base in 0_i64..1_i64 << 50, stretches in stretches(1_500), limit in 60_usize..5_000) {
        let said = said(base, &stretches, true, 0);
        let (text, cut) = encode(&said, limit);
        prop_assert!(text.len() <= limit);
        prop_assume!(text.len() <= DEFAULT_LIMIT);
        let read = read_back(&text, said.next);
        prop_assert_eq!(total(&read.done) + cut.done, total(&said.done));
        prop_assert_eq!(read.retries.len() + cut.retries, said.retries.len());
        // The map is cut at its far end, and goes before the first retry does.
        let end = read.done.last().map_or(base, |range| range.end);
        for range in said.done.iter().filter(|range| range.end <= end) {
            prop_assert!(read.done.contains(range));
        }
        let kept = |retry: &Retry| read.retries.contains(retry);
        let rank = |retry: &Retry| (retry.phase != Phase::Try, retry.attempts);
        let best_lost = said.retries.iter().filter(|retry| !kept(retry)).map(rank).max();
        prop_assert!(read.retries.iter().all(|retry| best_lost.is_none_or(|lost| rank(retry) >= lost)));
    }

    /// A flipped bit, a cut, a byte more: empty.
    #[test]
    fn damage_is_empty(stretches in stretches(8), bit in 0_usize..8) {
        let said = said(1000, &stretches, true, 0);
        let text = encode(&said, DEFAULT_LIMIT).0;
        for index in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[index] ^= 1 << bit;
            prop_assert!(matches!(decode(&damaged, said.next, TOPIC), Decoded::Empty(_)));
            prop_assert!(matches!(decode(&text.as_bytes()[..index], said.next, TOPIC), Decoded::Empty(_)));
        }
        let longer = format!("{text}A");
        prop_assert!(matches!(decode(longer.as_bytes(), said.next, TOPIC), Decoded::Empty(_)));
    }

    /// No bytes make it panic, not even with a right checksum.
    #[test]
    fn hostile_fields_do_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..200), seed in 0_u8..8) {
        let text = seal(&bytes);
        decode(text.as_bytes(), NextOffset(0), TOPIC);
        if let Some(flags) = bytes.first_mut() {
            *flags = seed;
        }
        let text = seal(&bytes);
        decode(text.as_bytes(), NextOffset(0), TOPIC);
    }

    /// One changed field under a right checksum is read as something valid or is empty; never a panic.
    #[test]
    fn resealed_damage_does_no_harm(stretches in stretches(8), index in any::<prop::sample::Index>(), byte: u8) {
        let said = said(1000, &stretches, true, 0);
        let mut bytes = fields(&encode(&said, DEFAULT_LIMIT).0);
        let index = index.index(bytes.len());
        bytes[index] = byte;
        if let Decoded::Restored(read) = decode(seal(&bytes).as_bytes(), said.next, TOPIC) {
            prop_assert!(read.done.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert!(read.retries.windows(2).all(|pair| pair[0].offset < pair[1].offset));
        }
    }
}

#[test]
fn every_flipped_bit_of_the_vector_is_empty() {
    for index in 0..VECTOR.len() {
        for bit in 0..8 {
            let mut damaged = VECTOR.as_bytes().to_vec();
            damaged[index] ^= 1 << bit;
            let read = decode(&damaged, NextOffset(1000), TOPIC);
            assert!(matches!(read, Decoded::Empty(_)), "bit {bit} of {index}: {read:?}");
        }
    }
}

#[test]
fn foreign_is_empty() {
    let read = |text: &str| decode(text.as_bytes(), NextOffset(1000), TOPIC);
    let flags = |set: u8| {
        let mut bytes = fields(VECTOR);
        bytes[0] |= set;
        seal(&bytes)
    };
    let mut phase = fields(VECTOR);
    let last = phase.len() - 3;
    phase[last] = 6;
    let mut reason = fields(VECTOR);
    reason[last + 1] = 4;
    let mut trailing = fields(VECTOR);
    trailing.push(0);
    let cases = [
        ("", Cause::Absent),
        ("bee,1,2", Cause::Prefix),
        ("weir2.BAobLD3oBwwAgPLWygYAmlDydA", Cause::Prefix),
        ("weir1.not base64", Cause::Base64),
        ("weir1.", Cause::Length),
        (&format!("{PREFIX}{}", "A".repeat(4092)), Cause::Length),
        ("weir1.BAobLD3oBwwAgPLWygYAmlDydB", Cause::Base64),
        ("weir1.BAobLD3oBwwAgPLWygYAmlDyeA", Cause::Checksum),
        (&flags(8), Cause::Flags),
        (&flags(128), Cause::Flags),
        (&seal(&phase), Cause::Phase),
        (&seal(&reason), Cause::Phase),
        (&seal(&trailing), Cause::Length),
        // Fifteen fields of a map that is not there; a retry count of 2^60; a base that is not the shortest form.
        (&seal(&[0, 10, 27, 44, 61, 0xE8, 7, 12, 0, 0, 15]), Cause::Length),
        (
            &seal(&[
                2, 10, 27, 44, 61, 0xE8, 7, 12, 0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 16,
            ]),
            Cause::Length,
        ),
        (&seal(&[0, 10, 27, 44, 61, 0xE8, 0x87, 0, 12, 0, 0, 0]), Cause::Varint),
        (&seal(&[0, 10, 27, 44, 61, 0xE8, 7, 12, 0, 0, 2, 0, 1]), Cause::Map),
        (&seal(&[1, 10, 27, 44, 61, 0xE8, 7, 12, 0, 0, 1, 1]), Cause::Map),
    ];
    for (text, cause) in cases {
        assert_eq!(read(text), Decoded::Empty(cause), "{text}");
    }
    assert_eq!(decode(VECTOR.as_bytes(), NextOffset(999), TOPIC), Decoded::Empty(Cause::Base));
}

#[test]
fn another_topic_is_not_empty() {
    let read = |topic| decode(VECTOR.as_bytes(), NextOffset(1000), topic);
    assert_eq!(read([1, 2, 3, 4]), Decoded::OtherTopic);
    assert_eq!(read([0; 4]), Decoded::Restored(vector()));
}

#[test]
fn an_unknown_code_is_other() {
    let mut bytes = fields(VECTOR);
    *bytes.last_mut().unwrap() = 250;
    let read = read_back(&seal(&bytes), NextOffset(1000));
    assert_eq!(read.retries[1].phase, Phase::DeadLetter(Reason::Exhausted, Code::Other));
}

/// H30.
#[test]
fn a_far_incomplete_costs_no_more_than_a_near_one() {
    let with = |distance: i64| {
        let mut said = Restored::fresh(NextOffset(1000), 12);
        said.done.push(1001..1001 + distance);
        encode(&said, DEFAULT_LIMIT).0.len()
    };
    assert!(with(1_000_000_000) <= with(10) + 6);
}

/// H31: a thousand records start to wait at once.
#[test]
fn the_map_goes_before_the_attempts_do() {
    let mut said = Restored { open: true, ..Restored::fresh(NextOffset(1000), 12) };
    for index in 0..1000_u32 {
        let offset = 1000 + 2 * i64::from(index);
        let phase = if index % 100 == 7 { Phase::Publish } else { Phase::Try };
        said.retries.push(Retry { offset, attempts: 1 + index % 5, due_in: 30, tried_for: 45, phase });
        said.done.push(offset + 1..offset + 2);
    }
    for limit in [DEFAULT_LIMIT, 2048, 1024] {
        let (text, cut) = encode(&said, limit);
        assert!(text.len() <= limit && text.len() > limit - 12, "{} of {limit}", text.len());
        let read = read_back(&text, said.next);
        assert!(cut.retries > 0 && cut.done > 900, "{cut:?}");
        assert_eq!(read.retries.iter().filter(|retry| retry.phase == Phase::Publish).count(), 10);
        assert!(
            read.retries.iter().filter(|retry| retry.phase == Phase::Try).all(|retry| retry.attempts >= 2)
        );
    }
    // Fewer retries: all of them stay, and as much of the map as fits.
    said.retries.truncate(400);
    let (text, cut) = encode(&said, DEFAULT_LIMIT);
    assert_eq!(cut.retries, 0);
    assert!(text.len() <= DEFAULT_LIMIT && cut.done < 1000);
}

#[test]
fn room_is_what_the_contract_says() {
    assert_eq!(bytes_within(DEFAULT_LIMIT), 3067);
    let isolated = |count: i64| {
        let done = (0..count).map(|index| 1001 + 200 * index..1200 + 200 * index).collect();
        Restored { done, ..Restored::fresh(NextOffset(1000), 12) }
    };
    assert_eq!(encode(&isolated(1000), DEFAULT_LIMIT).1, Cut::default());
    let bitmap = Restored {
        done: (0..12_000).map(|index| 1001 + 2 * index..1002 + 2 * index).collect(),
        ..Restored::fresh(NextOffset(1000), 12)
    };
    assert_eq!(encode(&bitmap, DEFAULT_LIMIT).1, Cut::default());
}
