//! Files made by hand, so that they can be wrong.

use std::fmt::{Debug, Display};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder that is removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("expertile-checkpoint-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), content).unwrap();
    }

    /// The refusal with this folder's path replaced by `DIR`.
    pub(crate) fn refusal<T: Debug, E: Display>(&self, result: Result<T, E>) -> String {
        refusal(result).replace(self.0.to_str().unwrap(), "DIR")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The refusal, which is one line of bounded length.
pub(crate) fn refusal<T: Debug, E: Display>(result: Result<T, E>) -> String {
    let refusal = result.unwrap_err().to_string();
    assert!(!refusal.contains(char::is_control), "{refusal:?}");
    assert!(refusal.len() < 2000, "{} bytes", refusal.len());
    refusal
}

/// A safetensors file with this header text and this data.
pub(crate) fn file(header: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// A tensor to put in a file.
#[derive(Clone)]
pub(crate) struct Array {
    pub(crate) name: String,
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<u8>,
}

/// A safetensors file of these tensors, one after the other.
pub(crate) fn file_of(arrays: &[Array]) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut data = Vec::new();
    for Array { name, dtype, shape, data: elements } in arrays {
        let start = data.len();
        data.extend(elements);
        let end = data.len();
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        ));
    }
    file(format!("{{{}}}", entries.join(",")), &data)
}

/// The configuration of the smallest model that has every part.
pub(crate) const CONFIG: &str = r#"{
    "model_type": "dbrx", "d_model": 4, "n_heads": 2, "n_layers": 1, "max_seq_len": 16,
    "vocab_size": 5, "attn_config": {"kv_n_heads": 1, "clip_qkv": 8},
    "ffn_config": {"ffn_hidden_size": 3, "moe_num_experts": 2, "moe_top_k": 1}
}"#;

/// The tensors of [`CONFIG`], in f32, all ones.
pub(crate) fn arrays() -> Vec<Array> {
    let names: [(&str, &[usize]); 11] = [
        ("transformer.wte.weight", &[5, 4]),
        ("transformer.blocks.0.norm_attn_norm.norm_1.weight", &[4]),
        ("transformer.blocks.0.norm_attn_norm.attn.Wqkv.weight", &[8, 4]),
        ("transformer.blocks.0.norm_attn_norm.attn.out_proj.weight", &[4, 4]),
        ("transformer.blocks.0.norm_attn_norm.norm_2.weight", &[4]),
        ("transformer.blocks.0.ffn.router.layer.weight", &[2, 4]),
        ("transformer.blocks.0.ffn.experts.mlp.w1", &[6, 4]),
        ("transformer.blocks.0.ffn.experts.mlp.v1", &[6, 4]),
        ("transformer.blocks.0.ffn.experts.mlp.w2", &[6, 4]),
        ("transformer.norm_f.weight", &[4]),
        ("lm_head.weight", &[5, 4]),
    ];
    names.iter().map(|&(name, shape)| ones(name, shape)).collect()
}

/// An f32 tensor of ones.
pub(crate) fn ones(name: &str, shape: &[usize]) -> Array {
    let data = 1f32.to_le_bytes().repeat(shape.iter().product());
    Array { name: name.into(), dtype: "F32", shape: shape.into(), data }
}

/// A folder with this configuration and these tensors in one file.
pub(crate) fn folder_of(config: &str, arrays: &[Array]) -> Folder {
    let folder = Folder::new();
    folder.write("config.json", config);
    folder.write("model.safetensors", file_of(arrays));
    folder
}
