//! Graphs.

use super::hip;
use crate::cuda::ffi::{InOut, Out};
use crate::cuda::graph;
use crate::cuda::table::Handle;

#[unsafe(no_mangle)]
extern "C" fn hipGraphInstantiate(
    executable: Out<Handle>,
    graph: Handle,
    error_node: usize,
    log: usize,
    log_bytes: usize,
) -> u32 {
    hip("hipGraphInstantiate", || {
        graph::cuGraphInstantiate_v2(executable, graph, error_node, log, log_bytes)
    })
}

#[unsafe(no_mangle)]
extern "C" fn hipGraphInstantiateWithFlags(
    executable: Out<Handle>,
    graph: Handle,
    flags: u64,
) -> u32 {
    hip("hipGraphInstantiateWithFlags", || {
        graph::cuGraphInstantiateWithFlags(executable, graph, flags)
    })
}

#[unsafe(no_mangle)]
extern "C" fn hipGraphUpload(executable: Handle, stream: Handle) -> u32 {
    hip("hipGraphUpload", || graph::cuGraphUpload(executable, stream))
}

#[unsafe(no_mangle)]
extern "C" fn hipGraphLaunch(executable: Handle, stream: Handle) -> u32 {
    hip("hipGraphLaunch", || graph::cuGraphLaunch(executable, stream))
}

#[unsafe(no_mangle)]
extern "C" fn hipGraphDestroy(graph: Handle) -> u32 {
    hip("hipGraphDestroy", || graph::cuGraphDestroy(graph))
}

#[unsafe(no_mangle)]
extern "C" fn hipGraphExecDestroy(executable: Handle) -> u32 {
    hip("hipGraphExecDestroy", || graph::cuGraphExecDestroy(executable))
}

#[unsafe(no_mangle)]
extern "C" fn hipGraphGetNodes(graph: Handle, nodes: Out<Handle>, count: InOut<usize>) -> u32 {
    hip("hipGraphGetNodes", || graph::cuGraphGetNodes(graph, nodes, count))
}

#[unsafe(no_mangle)]
extern "C" fn hipGraphNodeGetType(node: Handle, kind: Out<u32>) -> u32 {
    hip("hipGraphNodeGetType", || graph::cuGraphNodeGetType(node, kind))
}
