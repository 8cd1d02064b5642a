//! `kit.json`: what the kit was built from.

use serde_json::{Value, json};
use std::path::Path;

#[derive(Clone, Debug, Default)]
pub struct Manifest {
    pub commit: String,
    /// Whether the tree had changes that are in no commit.
    pub dirty: bool,
    pub images: Vec<Image>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub stem: String,
    pub architecture: String,
    pub sha256: String,
}

impl Manifest {
    pub fn read(path: &Path) -> Result<Manifest, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let value: Value =
            serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let bad = || format!("{} is not understood", path.display());
        let images = value["images"].as_array().ok_or_else(bad)?;
        let image = |image: &Value| {
            let text = |key: &str| image[key].as_str().map(str::to_owned).ok_or_else(bad);
            Ok(Image {
                stem: text("stem")?,
                architecture: text("architecture")?,
                sha256: text("sha256")?,
            })
        };
        Ok(Manifest {
            commit: value["commit"].as_str().ok_or_else(bad)?.to_owned(),
            dirty: value["dirty"].as_bool().ok_or_else(bad)?,
            images: images.iter().map(image).collect::<Result<_, String>>()?,
        })
    }

    pub fn json(&self) -> Value {
        let images: Vec<Value> = (self.images.iter())
            .map(|Image { stem, architecture, sha256 }| {
                json!({ "stem": stem, "architecture": architecture, "sha256": sha256 })
            })
            .collect();
        json!({ "commit": self.commit, "dirty": self.dirty, "images": images })
    }

    /// The hash of an operator's image.
    pub fn sha256(&self, stem: &str, architecture: &str) -> Option<&str> {
        let found = |image: &&Image| image.stem == stem && image.architecture == architecture;
        self.images.iter().find(found).map(|image| image.sha256.as_str())
    }
}
