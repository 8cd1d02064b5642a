//! Graphs made by capture, and their launches.
//!
//! A graph runs as one piece of work of a stream, its nodes in any order that their dependencies allow.

use std::sync::Arc;

use super::error::{Code, refuse};
use super::ffi::{InOut, Out, call};
use super::ordering::Mark;
use super::queue::Work;
use super::table::Handle;
use crate::memory::Known;

/// A graph.
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
}

/// One piece of work, after others.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) work: Arc<Work>,
    /// Indices of earlier nodes.
    pub(crate) after: Vec<usize>,
}

/// A graph ready to launch.
pub(crate) struct ExecutableGraph {
    plan: Arc<Plan>,
    flags: u64,
    /// Behind its last launch: no two of them overlap, in whatever streams.
    last: Option<Mark>,
}

/// The nodes of a graph, each after those it depends on, cut into lanes: chains in which each node
/// depends on the one before. A lane has a clock of its own, as a stream has.
pub(crate) struct Plan {
    pub(crate) work: Vec<Arc<Work>>,
    pub(crate) after: Vec<Vec<usize>>,
    lanes: Vec<usize>,
}

impl Plan {
    fn new(nodes: &[Node]) -> Plan {
        let mut lanes = Vec::with_capacity(nodes.len());
        // By lane: its last node.
        let mut ends: Vec<usize> = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let lane = ends.iter().position(|end| node.after.contains(end));
            let lane = lane.unwrap_or(ends.len());
            if lane == ends.len() {
                ends.push(index);
            }
            ends[lane] = index;
            lanes.push(lane);
        }
        Plan {
            work: nodes.iter().map(|node| node.work.clone()).collect(),
            after: nodes.iter().map(|node| node.after.clone()).collect(),
            lanes,
        }
    }

    pub(crate) fn nodes(&self) -> usize {
        self.work.len()
    }

    pub(crate) fn works(&self) -> impl Iterator<Item = &Work> {
        self.work.iter().map(|work| &**work)
    }

    /// The name of a node's clock: bits 40 to 54 of a stream's handle are free.
    pub(crate) fn clock(&self, stream: Handle, node: usize) -> u64 {
        (stream | (self.lanes[node] & 0x7FFF) << 40) as u64
    }

    /// What is ordered before each node, whose tickets count from `first`.
    pub(crate) fn known(&self, stream: Handle, first: u64, before: &Known) -> Vec<Known> {
        let mut all: Vec<Known> = Vec::with_capacity(self.nodes());
        for after in &self.after {
            let mut known = before.clone();
            for &earlier in after {
                known.join(&all[earlier]);
                known.raise(self.clock(stream, earlier), first + earlier as u64);
            }
            all.push(known);
        }
        all
    }

    /// What comes after the graph knows all lanes.
    pub(crate) fn raise_lanes(&self, known: &mut Known, stream: Handle, before: u64) {
        for node in 0..self.nodes() {
            known.raise(self.clock(stream, node), before + 1 + node as u64);
        }
    }
}

fn instantiate(symbol: &'static str, executable: Out<Handle>, graph: Handle, flags: u64) -> u32 {
    call(symbol, |driver| {
        if executable.is_null() {
            return refuse(Code::INVALID_VALUE, "no place for the executable graph");
        }
        let plan = Arc::new(Plan::new(&driver.graphs.get(graph)?.nodes));
        executable.set(driver.executable_graphs.insert(ExecutableGraph { plan, flags, last: None }))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGraphInstantiateWithFlags(
    executable: Out<Handle>,
    graph: Handle,
    flags: u64,
) -> u32 {
    instantiate("cuGraphInstantiateWithFlags", executable, graph, flags)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGraphInstantiate_v2(
    executable: Out<Handle>,
    graph: Handle,
    _error_node: usize,
    _log: usize,
    _log_bytes: usize,
) -> u32 {
    instantiate("cuGraphInstantiate_v2", executable, graph, 0)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGraphUpload(executable: Handle, stream: Handle) -> u32 {
    call("cuGraphUpload", |driver| {
        driver.stream(stream)?;
        driver.executable_graphs.get(executable).map(|_| ())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGraphLaunch(executable: Handle, stream: Handle) -> u32 {
    call("cuGraphLaunch", |driver| {
        let stream = driver.stream(stream)?;
        let ExecutableGraph { plan, last, .. } = driver.executable_graphs.get(executable)?;
        let (plan, last) = (plan.clone(), last.clone());
        driver.enqueue_after(stream, Work::Graph(plan), last.into_iter().collect())?;
        if driver.streams.get(stream)?.capture.is_none() {
            let mark = driver.mark(stream)?;
            driver.executable_graphs.get_mut(executable)?.last = Some(mark);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGraphDestroy(graph: Handle) -> u32 {
    call("cuGraphDestroy", |driver| driver.graphs.remove(graph).map(|_| ()))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGraphExecDestroy(executable: Handle) -> u32 {
    call("cuGraphExecDestroy", |driver| driver.executable_graphs.remove(executable).map(|_| ()))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecGetFlags(executable: Handle, flags: Out<u64>) -> u32 {
    call("cuGraphExecGetFlags", |driver| flags.set(driver.executable_graphs.get(executable)?.flags))
}

/// A node's handle is the graph's, with the node's number from 1 in bits 40 to 54.
fn node_handle(graph: Handle, index: usize) -> Handle {
    graph | ((index + 1) << 40)
}

/// Nodes in the order of their capture. Without a place for them, their number.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGraphGetNodes(
    graph: Handle,
    nodes: Out<Handle>,
    count: InOut<usize>,
) -> u32 {
    call("cuGraphGetNodes", |driver| {
        let found = driver.graphs.get(graph)?.nodes.len();
        if !nodes.is_null() {
            let room = count.get()?;
            let handles =
                (0..room).map(|index| if index < found { node_handle(graph, index) } else { 0 });
            nodes.set_all(handles)?;
            return count.set(found.min(room));
        }
        count.set(found)
    })
}

/// `CUgraphNodeType`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGraphNodeGetType(node: Handle, kind: Out<u32>) -> u32 {
    call("cuGraphNodeGetType", |driver| {
        let number = (node >> 40) & 0x7FFF;
        let graph = driver.graphs.get(node & !(0x7FFF << 40))?;
        match number.checked_sub(1).and_then(|index| graph.nodes.get(index)) {
            Some(node) => kind.set(match *node.work {
                Work::Kernel(_) => 0,
                Work::Copy { .. } => 1,
                Work::Fill { .. } => 2,
                Work::Host(..) => 3,
                Work::Graph(_) => 4,
                Work::Record(_) => 7,
                Work::Wait | Work::Free { .. } => 5,
            }),
            None => refuse(Code::INVALID_VALUE, format!("{node:#x} is no node")),
        }
    })
}
