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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Trees merged at random against plain maps.
    #[test]
    fn merges_as_maps_do() {
        let mut random = 1_u64;
        let mut below = |end: u64| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
            (random >> 33) % end
        };
        let mut all = vec![(Tree::default(), BTreeMap::<u64, [u32; 2]>::new()); 6];
        for _ in 0..3000 {
            let (from, to) = (below(6) as usize, below(6) as usize);
            let (tree, map) = all[from].clone();
            let (target, expected) = &mut all[to];
            let news = if below(2) == 0 {
                target.merge(&tree);
                map
            } else {
                let key = [0, 3, 15, 16, 255, 256, 70_000, 1 << 40, u64::MAX][below(9) as usize];
                let epochs = [below(9) as u32, below(9) as u32];
                target.raise(key, &epochs);
                BTreeMap::from([(key, epochs)])
            };
            for (key, epochs) in news {
                let old = expected.entry(key).or_default();
                *old = [old[0].max(epochs[0]), old[1].max(epochs[1])];
            }
            for key in [0, 1, 3, 15, 16, 255, 256, 257, 70_000, 1 << 40, u64::MAX] {
                let found = target.get(key).map(|epochs| [epochs[0], epochs[1]]);
                assert_eq!(found, expected.get(&key).copied(), "{key}");
            }
            if below(40) == 0 {
                all[to] = Default::default();
            }
        }
    }

    #[test]
    fn equal_knowledge_is_one_object() {
        let mut a = Tree::default();
        a.raise(5, &[1]);
        a.raise(900, &[2]);
        let mut b = a.clone();
        b.merge(&a);
        assert!(Arc::ptr_eq(a.root.as_ref().unwrap(), b.root.as_ref().unwrap()));
        b.raise(900, &[3]);
        a.merge(&b);
        assert!(Arc::ptr_eq(a.root.as_ref().unwrap(), b.root.as_ref().unwrap()));
        b.raise(5, &[1]);
        assert!(Arc::ptr_eq(a.root.as_ref().unwrap(), b.root.as_ref().unwrap()));
    }
}
