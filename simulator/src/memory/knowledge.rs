//! What a warp knows of the warps of other blocks: sparse vector clocks that share their parts.

use std::sync::Arc;

const FAN_OUT_SHIFT: u32 = 4;
const FAN_OUT: usize = 1 << FAN_OUT_SHIFT;

#[derive(Debug)]
enum Node {
    Branch([Option<Arc<Node>>; FAN_OUT]),
    Leaf(Box<[u32]>),
}

/// A persistent radix tree from a number to a vector of epochs. Merging takes the larger epoch of
/// each; parts that both sides share are not walked.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// Levels of branches above the leaves.
    height: u32,
    root: Option<Arc<Node>>,
}

impl Tree {
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    pub(super) fn get(&self, key: u64) -> Option<&[u32]> {
        if key.checked_shr(self.height * FAN_OUT_SHIFT).unwrap_or(0) != 0 {
            return None;
        }
        let mut node = self.root.as_ref()?;
        let mut level = self.height;
        loop {
            match &**node {
                Node::Leaf(epochs) => return Some(epochs),
                Node::Branch(children) => {
                    level -= 1;
                    node = children[digit(key, level)].as_ref()?;
                }
            }
        }
    }

    /// Raises the epochs of one key to these.
    pub(super) fn raise(&mut self, key: u64, epochs: &[u32]) {
        let mut height = 0;
        while key.checked_shr(height * FAN_OUT_SHIFT).unwrap_or(0) != 0 {
            height += 1;
        }
        let mut node = Arc::new(Node::Leaf(epochs.into()));
        for level in 0..height {
            node = branch(digit(key, level), node);
        }
        self.merge(&Tree { height, root: Some(node) });
    }

    /// Takes the larger of both.
    pub(super) fn merge(&mut self, other: &Tree) {
        let Some(theirs) = &other.root else { return };
        let Some(ours) = &self.root else {
            *self = other.clone();
            return;
        };
        let height = self.height.max(other.height);
        let ours = grown(ours, self.height, height);
        let theirs = grown(theirs, other.height, height);
        *self = Tree { height, root: Some(merged(&ours, &theirs)) };
    }
}

fn digit(key: u64, level: u32) -> usize {
    key.checked_shr(level * FAN_OUT_SHIFT).unwrap_or(0) as usize % FAN_OUT
}

fn branch(place: usize, child: Arc<Node>) -> Arc<Node> {
    let mut children = [const { None }; FAN_OUT];
    children[place] = Some(child);
    Arc::new(Node::Branch(children))
}

fn grown(root: &Arc<Node>, from: u32, to: u32) -> Arc<Node> {
    (from..to).fold(root.clone(), |node, _| branch(0, node))
}

/// One of the two where it has everything, so that equal knowledge is one object.
fn merged(a: &Arc<Node>, b: &Arc<Node>) -> Arc<Node> {
    if Arc::ptr_eq(a, b) {
        return a.clone();
    }
    match (&**a, &**b) {
        (Node::Leaf(x), Node::Leaf(y)) => {
            if x.len() >= y.len() && x.iter().zip(y).all(|(x, y)| x >= y) {
                return a.clone();
            }
            if y.len() >= x.len() && y.iter().zip(x).all(|(y, x)| y >= x) {
                return b.clone();
            }
            let at = |v: &[u32], i: usize| v.get(i).copied().unwrap_or(0);
            let both = (0..x.len().max(y.len())).map(|i| at(x, i).max(at(y, i))).collect();
            Arc::new(Node::Leaf(both))
        }
        (Node::Branch(x), Node::Branch(y)) => {
            let children: [Option<Arc<Node>>; FAN_OUT] =
                std::array::from_fn(|i| match (&x[i], &y[i]) {
                    (Some(x), Some(y)) => Some(merged(x, y)),
                    (x, y) => x.clone().or_else(|| y.clone()),
                });
            let same = |of: &[Option<Arc<Node>>; FAN_OUT]| {
                children.iter().zip(of).all(|(new, old)| match (new, old) {
                    (Some(new), Some(old)) => Arc::ptr_eq(new, old),
                    (new, old) => new.is_none() && old.is_none(),
                })
            };
            if same(x) {
                a.clone()
            } else if same(y) {
                b.clone()
            } else {
                Arc::new(Node::Branch(children))
            }
        }
        _ => unreachable!("leaves are all at one depth"),
    }
}

/// What is carried from those who release to those who acquire.
#[derive(Clone, Debug, Default)]
pub(super) struct Knowledge {
    /// By block: the known epoch of each of its warps.
    pub(super) blocks: Tree,
    /// By place (a location of strong writes): the known number of its writes.
    pub(super) places: Tree,
}

impl Knowledge {
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.places.is_empty()
    }

    pub(super) fn merge(&mut self, other: &Knowledge) {
        self.blocks.merge(&other.blocks);
        self.places.merge(&other.places);
    }
}
