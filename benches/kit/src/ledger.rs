//! The ledger: which image has been proven where. Proof belongs to an image's hash: another image of
//! the same operator has none.

use crate::Context;
use crate::properties::Proofs;

pub const HEAD: &str = "date,commit,platform,device,driver,architecture,operator,dtype,image_sha256,\
first_seed,last_seed,cases,worst";

/// One proof: an operator's image and dtype on a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub date: String,
    pub commit: String,
    pub platform: String,
    pub device: String,
    pub driver: String,
    pub architecture: String,
    pub operator: String,
    pub dtype: String,
    pub sha256: String,
    pub seeds: [u64; 2],
    pub cases: u64,
    pub worst: f64,
}

impl Line {
    pub fn write(&self) -> String {
        let Line { date, commit, platform, device, driver, architecture, .. } = self;
        let Line { operator, dtype, sha256, seeds: [first, last], cases, worst, .. } = self;
        let device = device.replace(',', " ");
        format!(
            "{date},{commit},{platform},{device},{driver},{architecture},{operator},{dtype},{sha256},\
             {first},{last},{cases},{worst:.4}"
        )
    }

    pub fn read(text: &str) -> Result<Line, String> {
        let bad = || format!("the ledger's line is not understood: {text}");
        let fields: Vec<&str> = text.split(',').collect();
        let &[
            date,
            commit,
            platform,
            device,
            driver,
            architecture,
            operator,
            dtype,
            sha256,
            first,
            last,
            cases,
            worst,
        ] = &fields[..]
        else {
            return Err(bad());
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
        Ok(Line {
            date: date.into(),
            commit: commit.into(),
            platform: platform.into(),
            device: device.into(),
            driver: driver.into(),
            architecture: architecture.into(),
            operator: operator.into(),
            dtype: dtype.into(),
            sha256: sha256.into(),
            seeds: [number(first)?, number(last)?],
            cases: number(cases)?,
            worst: worst.parse().map_err(|_| bad())?,
        })
    }

    /// Whether it may stand in the repository.
    pub fn is_of_a_machine(&self) -> bool {
        !self.device.starts_with("simulated")
    }
}

/// All lines below the head.
pub fn read(text: &str) -> Result<Vec<Line>, String> {
    let mut lines = text.lines();
    match lines.next() {
        Some(HEAD) => lines.filter(|line| !line.is_empty()).map(Line::read).collect(),
        head => Err(format!("the ledger begins with {head:?}, expected {HEAD:?}")),
    }
}

pub fn write(lines: &[Line]) -> String {
    let lines = lines.iter().map(|line| line.write() + "\n").collect::<String>();
    format!("{HEAD}\n{lines}")
}

/// The lines of a run. A run in which a property failed proves nothing.
pub fn of_run(context: &Context, proofs: &Proofs, passed: bool) -> Vec<Line> {
    let Some(device) = context.device.as_ref().filter(|_| passed) else { return Vec::new() };
    let line = |((operator, dtype, images), proof): (&(String, String, String), &_)| {
        let crate::properties::Proof { cases, worst, seeds, platform, device: name } = proof;
        let (first, last) = (*seeds)?;
        Some(Line {
            date: context.date.clone(),
            commit: context.manifest.commit.clone(),
            platform: platform.clone(),
            device: name.clone(),
            driver: device.driver_version.to_string(),
            architecture: images.clone(),
            operator: operator.clone(),
            dtype: dtype.clone(),
            sha256: context.manifest.sha256(operator, images)?.to_owned(),
            seeds: [first, last],
            cases: *cases,
            worst: *worst,
        })
    };
    proofs.iter().filter_map(line).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn line(operator: &str, dtype: &str, sha256: &str) -> Line {
        Line {
            date: "2026-01-02".into(),
            commit: "abc".into(),
            platform: "cuda".into(),
            device: "A card".into(),
            driver: "13000".into(),
            architecture: "sm_90a".into(),
            operator: operator.into(),
            dtype: dtype.into(),
            sha256: sha256.into(),
            seeds: [3, 9],
            cases: 1000,
            worst: 0.5,
        }
    }

    #[test]
    fn lines_come_back_as_they_went() {
        let lines = vec![line("rope", "bf16", "00"), line("rope", "f16", "00")];
        assert_eq!(read(&write(&lines)), Ok(lines));
        assert!(read("date\n").is_err());
        assert!(read(&format!("{HEAD}\n1,2\n")).is_err());
        assert!(read(&write(&[line("rope", "bf16", "00")]).replace("1000", "x")).is_err());
    }
}
