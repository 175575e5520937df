//! Where nodes and edges go: columns from left to right by the longest way to each node, in a column by the middle of what
//! leads there. An edge over several columns bends around the nodes between.

use std::collections::BTreeSet;

use super::model::Graph;

/// Between columns, and between the nodes of one.
const GAP: (f64, f64) = (70.0, 18.0);
/// Around all of it.
const MARGIN: f64 = 20.0;
/// How often columns are put in order, forth and back.
const SWEEPS: usize = 6;
/// The height of a node, and of the lane of an edge that passes.
const HEIGHT: f64 = 30.0;
const PASSING: f64 = 8.0;

/// Where a node goes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Place {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// The whole of it.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// Of each node, by its number.
    pub(super) nodes: Vec<Place>,
    /// Of each edge the points that it goes through, the first and the last at its nodes.
    pub(super) edges: Vec<Vec<(f64, f64)>>,
}

/// What stands in a column: a node, or an edge that passes.
#[derive(Debug, Clone, Default)]
struct Slot {
    place: Place,
    column: usize,
    before: Vec<usize>,
    after: Vec<usize>,
}

/// `widths` are those of the nodes.
pub(super) fn layout(graph: &Graph, widths: &[f64]) -> Layout {
    let columns = columns(graph);
    let slot = |(column, width): (&usize, &f64)| Slot {
        place: Place { width: *width, height: HEIGHT, ..Place::default() },
        column: *column,
        ..Slot::default()
    };
    let mut slots: Vec<Slot> = columns.iter().zip(widths).map(slot).collect();
    let ways: Vec<Vec<usize>> =
        graph.edges.iter().map(|edge| passing(edge.from, edge.to, &mut slots)).collect();
    let ordered = order(&mut slots);
    let (width, height) = place(&mut slots, &ordered);
    let at = |slot: usize| slots.get(slot).map_or(Place::default(), |slot| slot.place);
    let edges = ways.iter().map(|way| points(way, &at)).collect();
    Layout { width, height, nodes: (0..graph.nodes.len()).map(at).collect(), edges }
}

/// The column of each node. Where there is a cycle, its first node begins it.
fn columns(graph: &Graph) -> Vec<usize> {
    let count = graph.nodes.len();
    let mut after = vec![Vec::new(); count];
    let mut open = vec![0_usize; count];
    for edge in &graph.edges {
        if let (Some(after), Some(open)) = (after.get_mut(edge.from), open.get_mut(edge.to)) {
            after.push(edge.to);
            *open += 1;
        }
    }
    let mut column = vec![0; count];
    let mut ready: BTreeSet<usize> = (0..count).filter(|at| open.get(*at) == Some(&0)).collect();
    let mut left: BTreeSet<usize> = (0..count).collect();
    while let Some(at) = ready.pop_first().or_else(|| left.first().copied()) {
        left.remove(&at);
        let next = column.get(at).copied().unwrap_or(0) + 1;
        for to in after.get(at).into_iter().flatten().filter(|to| left.contains(*to)) {
            if let (Some(column), Some(open)) = (column.get_mut(*to), open.get_mut(*to)) {
                *column = next.max(*column);
                *open -= 1;
                if *open == 0 {
                    ready.insert(*to);
                }
            }
        }
    }
    column
}

/// The slots of an edge: its ends, and one in each column between. One that leads back has its ends only.
fn passing(from: usize, to: usize, slots: &mut Vec<Slot>) -> Vec<usize> {
    let column = |slots: &[Slot], at: usize| slots.get(at).map_or(0, |slot| slot.column);
    let (first, last) = (column(slots, from), column(slots, to));
    let mut way = vec![from];
    for between in first + 1..last {
        way.push(slots.len());
        let place = Place { height: PASSING, ..Place::default() };
        slots.push(Slot { column: between, place, ..Slot::default() });
    }
    way.push(to);
    if first < last {
        for pair in way.windows(2) {
            if let [a, b] = *pair {
                slots.get_mut(a).into_iter().for_each(|slot| slot.after.push(b));
                slots.get_mut(b).into_iter().for_each(|slot| slot.before.push(a));
            }
        }
    }
    way
}

/// The slots of each column, in an order in which few edges cross.
fn order(slots: &mut [Slot]) -> Vec<Vec<usize>> {
    let count = slots.iter().map(|slot| slot.column + 1).max().unwrap_or(0);
    let mut columns = vec![Vec::new(); count];
    for (at, slot) in slots.iter().enumerate() {
        columns.get_mut(slot.column).into_iter().for_each(|column| column.push(at));
    }
    let mut rank: Vec<f64> = vec![0.0; slots.len()];
    let number = |column: &[usize], rank: &mut Vec<f64>| {
        for (place, slot) in (0_u32..).zip(column) {
            rank.get_mut(*slot).into_iter().for_each(|rank| *rank = f64::from(place));
        }
    };
    columns.iter().for_each(|column| number(column, &mut rank));
    for sweep in 0..SWEEPS {
        let forth = sweep % 2 == 0;
        for step in 0..count {
            let at = if forth { step } else { count - 1 - step };
            let Some(column) = columns.get_mut(at) else { continue };
            let middle = |slot: &usize| {
                let near = slots.get(*slot).map(|s| if forth { &s.before } else { &s.after });
                let near: Vec<f64> =
                    near.into_iter().flatten().filter_map(|at| rank.get(*at).copied()).collect();
                let own = rank.get(*slot).copied().unwrap_or(0.0);
                let count = u32::try_from(near.len()).unwrap_or(u32::MAX);
                if near.is_empty() { own } else { near.iter().sum::<f64>() / f64::from(count) }
            };
            let mut keyed: Vec<(f64, usize)> = column.iter().map(|slot| (middle(slot), *slot)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            *column = keyed.into_iter().map(|(_, slot)| slot).collect();
            number(column, &mut rank);
        }
    }
    columns
}

/// Gives each slot its place, columns centred. Returns the size of the whole.
fn place(slots: &mut [Slot], columns: &[Vec<usize>]) -> (f64, f64) {
    let of = |slots: &[Slot], at: usize| slots.get(at).map_or(Place::default(), |slot| slot.place);
    let tall =
        |slots: &[Slot], column: &[usize]| column.iter().map(|at| of(slots, *at).height + GAP.1).sum::<f64>();
    let height = columns.iter().map(|column| tall(slots, column)).fold(0.0, f64::max);
    let mut x = MARGIN;
    for column in columns {
        let width = column.iter().map(|at| of(slots, *at).width).fold(0.0, f64::max);
        let mut y = MARGIN + (height - tall(slots, column)) / 2.0;
        for at in column {
            if let Some(slot) = slots.get_mut(*at) {
                (slot.place.x, slot.place.y) = (x + (width - slot.place.width) / 2.0, y);
                y += slot.place.height + GAP.1;
            }
        }
        x += width + GAP.0;
    }
    (x - GAP.0 + MARGIN, height + 2.0 * MARGIN)
}

/// From the right side of its first slot to the left side of its last; an edge that leads back the other way round.
fn points(way: &[usize], at: &impl Fn(usize) -> Place) -> Vec<(f64, f64)> {
    let left = |place: Place| (place.x, place.y + place.height / 2.0);
    let right = |place: Place| (place.x + place.width, place.y + place.height / 2.0);
    let (Some(first), Some(last)) = (way.first(), way.last()) else { return Vec::new() };
    let mut points = vec![right(at(*first))];
    points.extend(way.iter().skip(1).rev().skip(1).rev().map(|slot| left(at(*slot))));
    points.push(left(at(*last)));
    points
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::graph::model::{Edge, Kind, Node, Way};

    fn graph(count: usize, edges: &[(usize, usize)]) -> Graph {
        let mut graph = Graph::default();
        graph.nodes = (0..count).map(|at| Node { kind: Kind::Topic, name: at.to_string() }).collect();
        graph.edges = edges.iter().map(|(from, to)| Edge { from: *from, to: *to, way: Way::Reads }).collect();
        graph
    }

    #[test]
    fn a_chain_goes_from_left_to_right_and_a_cycle_ends() {
        assert_eq!(columns(&graph(3, &[(2, 1), (1, 0)])), [2, 1, 0]);
        assert_eq!(columns(&graph(3, &[(0, 1), (1, 2), (2, 0)])), [0, 1, 2]);
        assert_eq!(columns(&graph(1, &[(0, 0)])), [0]);
        let crossing = layout(&graph(4, &[(0, 3), (1, 2)]), &[50.0; 4]);
        assert!(
            (crossing.nodes[0].y < crossing.nodes[1].y) == (crossing.nodes[3].y < crossing.nodes[2].y),
            "uncrossed"
        );
    }

    proptest! {
        #[test]
        fn no_two_nodes_overlap_and_all_lies_inside(
            count in 1_usize..25,
            edges in proptest::collection::vec((0_usize..25, 0_usize..25), 0..60),
        ) {
            let edges: Vec<_> = edges.into_iter().map(|(a, b)| (a % count, b % count)).collect();
            let graph = graph(count, &edges);
            let out = layout(&graph, &vec![60.0; count]);
            for (i, a) in out.nodes.iter().enumerate() {
                prop_assert!(a.x >= 0.0 && a.y >= 0.0 && a.x + a.width <= out.width && a.y + a.height <= out.height);
                for b in &out.nodes[i + 1..] {
                    let apart = a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
                    prop_assert!(apart, "{a:?} {b:?}");
                }
            }
            prop_assert_eq!(out.edges.len(), edges.len());
        }
    }
}
