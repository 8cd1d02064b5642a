//! The HIP calls that are not modelled: they exist, name themselves once, and refuse.
//!
//! The list is what `libamdhip64.so.5` of Debian 12 exports, less what this folder defines, and less
//! `hipCreateChannelDesc`, which has no way to refuse:
//!
//! ```text
//! comm -23 <(nm -D --defined-only libamdhip64.so.5 | grep -oE '\bhip[A-Za-z]\w+' | sort -u) \
//!          <(grep -ohE 'fn hip\w+' simulator/src/hip/*.rs | cut -c4- | sort -u)
//! ```

use std::ffi::c_char;

use super::hip;
use crate::cuda::unmodelled::not_supported;

/// C callers may pass more arguments than a function takes.
macro_rules! unmodelled {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> u32 {
                hip(stringify!($name), || not_supported(stringify!($name)))
            }
        )*
    };
}

/// Those whose result is a name.
macro_rules! unmodelled_names {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> *const c_char {
                hip(stringify!($name), || not_supported(stringify!($name)));
                c"not modelled".as_ptr()
            }
        )*
    };
}

#[rustfmt::skip]
unmodelled_names! {
    hipApiName hipGetCmdName hipKernelNameRef hipKernelNameRefByPtr hiprtcGetErrorString
}

#[rustfmt::skip]
unmodelled! {
    hipArray3DCreate hipArrayCreate hipArrayDestroy hipBindTexture hipBindTexture2D
    hipBindTextureToArray hipBindTextureToMipmappedArray hipChooseDevice hipConfigureCall
    hipCreateTextureObject hipCtxCreate hipCtxDestroy hipCtxDisablePeerAccess
    hipCtxEnablePeerAccess hipCtxGetApiVersion hipCtxGetCacheConfig hipCtxGetCurrent
    hipCtxGetDevice hipCtxGetFlags hipCtxGetSharedMemConfig hipCtxPopCurrent hipCtxPushCurrent
    hipCtxSetCacheConfig hipCtxSetCurrent hipCtxSetSharedMemConfig hipCtxSynchronize
    hipDestroyExternalMemory hipDestroyExternalSemaphore hipDestroyTextureObject
    hipDeviceDisablePeerAccess hipDeviceEnablePeerAccess hipDeviceGetCacheConfig
    hipDeviceGetDefaultMemPool hipDeviceGetLimit hipDeviceGetMemPool hipDeviceGetP2PAttribute
    hipDeviceGetSharedMemConfig hipDevicePrimaryCtxGetState hipDevicePrimaryCtxRelease
    hipDevicePrimaryCtxReset hipDevicePrimaryCtxRetain hipDevicePrimaryCtxSetFlags
    hipDeviceReset hipDeviceSetCacheConfig hipDeviceSetMemPool hipDeviceSetSharedMemConfig
    hipDrvMemcpy2DUnaligned hipDrvMemcpy3D hipDrvMemcpy3DAsync hipDrvPointerGetAttributes
    hipEnableActivityCallback hipExtGetLinkTypeAndHopCount hipExtLaunchKernel
    hipExtLaunchMultiKernelMultiDevice hipExtMallocWithFlags hipExtStreamCreateWithCUMask
    hipExtStreamGetCUMask hipExternalMemoryGetMappedBuffer hipFreeArray hipFreeHost
    hipFreeMipmappedArray hipFuncGetAttributes hipFuncSetCacheConfig hipFuncSetSharedMemConfig
    hipGLGetDevices hipGetChannelDesc hipGetDeviceFlags hipGetMipmappedArrayLevel
    hipGetSymbolAddress hipGetSymbolSize hipGetTextureAlignmentOffset
    hipGetTextureObjectResourceDesc hipGetTextureObjectResourceViewDesc
    hipGetTextureObjectTextureDesc hipGetTextureReference hipGraphAddChildGraphNode
    hipGraphAddDependencies hipGraphAddEmptyNode hipGraphAddEventRecordNode
    hipGraphAddEventWaitNode hipGraphAddHostNode hipGraphAddKernelNode hipGraphAddMemcpyNode
    hipGraphAddMemcpyNode1D hipGraphAddMemcpyNodeFromSymbol hipGraphAddMemcpyNodeToSymbol
    hipGraphAddMemsetNode hipGraphChildGraphNodeGetGraph hipGraphClone hipGraphCreate
    hipGraphDestroyNode hipGraphEventRecordNodeGetEvent hipGraphEventRecordNodeSetEvent
    hipGraphEventWaitNodeGetEvent hipGraphEventWaitNodeSetEvent
    hipGraphExecChildGraphNodeSetParams hipGraphExecEventRecordNodeSetEvent
    hipGraphExecEventWaitNodeSetEvent hipGraphExecHostNodeSetParams
    hipGraphExecKernelNodeSetParams hipGraphExecMemcpyNodeSetParams
    hipGraphExecMemcpyNodeSetParams1D hipGraphExecMemcpyNodeSetParamsFromSymbol
    hipGraphExecMemcpyNodeSetParamsToSymbol hipGraphExecMemsetNodeSetParams hipGraphExecUpdate
    hipGraphGetEdges hipGraphGetRootNodes hipGraphHostNodeGetParams hipGraphHostNodeSetParams
    hipGraphKernelNodeGetParams hipGraphKernelNodeSetParams hipGraphMemcpyNodeGetParams
    hipGraphMemcpyNodeSetParams hipGraphMemcpyNodeSetParams1D
    hipGraphMemcpyNodeSetParamsFromSymbol hipGraphMemcpyNodeSetParamsToSymbol
    hipGraphMemsetNodeGetParams hipGraphMemsetNodeSetParams hipGraphNodeFindInClone
    hipGraphNodeGetDependencies hipGraphNodeGetDependentNodes hipGraphRemoveDependencies
    hipGraphicsGLRegisterBuffer hipGraphicsGLRegisterImage hipGraphicsMapResources
    hipGraphicsResourceGetMappedPointer hipGraphicsSubResourceGetMappedArray
    hipGraphicsUnmapResources hipGraphicsUnregisterResource hipHostAlloc hipHostGetDevicePointer
    hipImportExternalMemory hipImportExternalSemaphore hipInitActivityCallback
    hipIpcCloseMemHandle hipIpcGetEventHandle hipIpcGetMemHandle hipIpcOpenEventHandle
    hipIpcOpenMemHandle hipLaunchByPtr hipLaunchCooperativeKernel
    hipLaunchCooperativeKernelMultiDevice hipLaunchCooperativeKernel_spt hipLaunchKernel
    hipLaunchKernel_spt hipMalloc3D hipMalloc3DArray hipMallocArray hipMallocFromPoolAsync
    hipMallocHost hipMallocManaged hipMallocMipmappedArray hipMallocPitch hipMemAddressFree
    hipMemAddressReserve hipMemAdvise hipMemAllocHost hipMemAllocPitch hipMemCreate
    hipMemExportToShareableHandle hipMemGetAccess hipMemGetAllocationGranularity
    hipMemGetAllocationPropertiesFromHandle hipMemImportFromShareableHandle hipMemMap
    hipMemMapArrayAsync hipMemPoolCreate hipMemPoolDestroy hipMemPoolExportPointer
    hipMemPoolExportToShareableHandle hipMemPoolGetAccess hipMemPoolGetAttribute
    hipMemPoolImportFromShareableHandle hipMemPoolImportPointer hipMemPoolSetAccess
    hipMemPoolSetAttribute hipMemPoolTrimTo hipMemPrefetchAsync hipMemPtrGetInfo
    hipMemRangeGetAttribute hipMemRangeGetAttributes hipMemRelease hipMemRetainAllocationHandle
    hipMemSetAccess hipMemUnmap hipMemcpy2D hipMemcpy2DAsync hipMemcpy2DFromArray
    hipMemcpy2DFromArrayAsync hipMemcpy2DFromArray_spt hipMemcpy2DToArray
    hipMemcpy2DToArrayAsync hipMemcpy2DToArray_spt hipMemcpy2D_spt hipMemcpy3D hipMemcpy3DAsync
    hipMemcpy3D_spt hipMemcpyAsync_spt hipMemcpyAtoH hipMemcpyFromArray hipMemcpyFromSymbol
    hipMemcpyFromSymbolAsync hipMemcpyFromSymbol_spt hipMemcpyHtoA hipMemcpyParam2D
    hipMemcpyParam2DAsync hipMemcpyPeer hipMemcpyPeerAsync hipMemcpyToArray hipMemcpyToSymbol
    hipMemcpyToSymbolAsync hipMemcpyToSymbol_spt hipMemcpy_spt hipMemset2D hipMemset2DAsync
    hipMemset2D_spt hipMemset3D hipMemset3DAsync hipMemset3D_spt hipMemset_spt
    hipMipmappedArrayCreate hipMipmappedArrayDestroy hipMipmappedArrayGetLevel
    hipModuleGetTexRef hipModuleOccupancyMaxActiveBlocksPerMultiprocessorWithFlags
    hipModuleOccupancyMaxPotentialBlockSize hipModuleOccupancyMaxPotentialBlockSizeWithFlags
    hipOccupancyMaxActiveBlocksPerMultiprocessorWithFlags hipOccupancyMaxPotentialBlockSize
    hipPointerGetAttribute hipPointerGetAttributes hipProfilerStart hipProfilerStop
    hipRegisterActivityCallback hipRegisterApiCallback hipRemoveActivityCallback
    hipRemoveApiCallback hipSetDeviceFlags hipSetupArgument hipSignalExternalSemaphoresAsync
    hipStreamAttachMemAsync hipStreamGetFlags_spt hipStreamGetPriority_spt hipStreamQuery_spt
    hipStreamSynchronize_spt hipStreamUpdateCaptureDependencies hipStreamWaitEvent_spt
    hipStreamWaitValue32 hipStreamWaitValue64 hipStreamWriteValue32 hipStreamWriteValue64
    hipTexObjectCreate hipTexObjectDestroy hipTexObjectGetResourceDesc
    hipTexObjectGetResourceViewDesc hipTexObjectGetTextureDesc hipTexRefGetAddress
    hipTexRefGetAddressMode hipTexRefGetFilterMode hipTexRefGetFlags hipTexRefGetFormat
    hipTexRefGetMaxAnisotropy hipTexRefGetMipmapFilterMode hipTexRefGetMipmapLevelBias
    hipTexRefGetMipmapLevelClamp hipTexRefSetAddress hipTexRefSetAddress2D
    hipTexRefSetAddressMode hipTexRefSetArray hipTexRefSetBorderColor hipTexRefSetFilterMode
    hipTexRefSetFlags hipTexRefSetFormat hipTexRefSetMaxAnisotropy hipTexRefSetMipmapFilterMode
    hipTexRefSetMipmapLevelBias hipTexRefSetMipmapLevelClamp hipTexRefSetMipmappedArray
    hipUnbindTexture hipWaitExternalSemaphoresAsync
    hiprtcAddNameExpression hiprtcCompileProgram hiprtcCreateProgram hiprtcDestroyProgram
    hiprtcGetCode hiprtcGetCodeSize hiprtcGetLoweredName hiprtcGetProgramLog
    hiprtcGetProgramLogSize hiprtcVersion
}
