//! Graphs made by capture, and their launches.
//!
//! A graph runs as one piece of work of a stream, its nodes in the order of their capture.

use std::sync::Arc;

use super::error::{Code, refuse};
use super::ffi::{InOut, Out, call};
use super::queue::Work;
use super::table::Handle;

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
    nodes: Vec<Arc<Work>>,
    flags: u64,
}

fn instantiate(symbol: &'static str, executable: Out<Handle>, graph: Handle, flags: u64) -> u32 {
    call(symbol, |driver| {
        if executable.is_null() {
            return refuse(Code::INVALID_VALUE, "no place for the executable graph");
        }
        let nodes = driver.graphs.get(graph)?.nodes.iter().map(|node| node.work.clone()).collect();
        executable.set(driver.executable_graphs.insert(ExecutableGraph { nodes, flags }))
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
        let nodes = driver.executable_graphs.get(executable)?.nodes.clone();
        driver.enqueue(stream, Work::Graph(nodes))
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
