//! The device, as the bench binary's service describes it.

use serde_json::Value;

#[derive(Clone, Debug)]
pub struct Device {
    pub platform: String,
    pub name: String,
    pub architecture: String,
    pub driver_version: u64,
    pub simulated: bool,
}

impl Device {
    pub fn read(answer: &Value) -> Option<Device> {
        let device = &answer["device"];
        let text = |key: &str| device[key].as_str().map(str::to_owned);
        Some(Device {
            platform: text("platform")?,
            name: text("name")?,
            architecture: text("architecture")?,
            driver_version: device["driver_version"].as_u64()?,
            // Both must say so: a name alone decides against a figure.
            simulated: device["simulated"].as_bool().unwrap_or(true)
                || text("name")?.starts_with("simulated "),
        })
    }

    /// The driver, in its vendor's way of counting.
    pub fn driver(&self) -> String {
        let version = self.driver_version;
        match self.platform.as_str() {
            "cuda" => format!("driver for CUDA {}.{}", version / 1000, version % 1000 / 10),
            _ => format!("HIP {}.{}", version / 10_000_000, version % 10_000_000 / 100_000),
        }
    }

    /// For names of files: `nvidia-h100-80gb-hbm3`.
    pub fn slug(&self) -> String {
        let dashed: String = (self.name.chars())
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        dashed.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
    }
}
