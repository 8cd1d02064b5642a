//! The roofline: what each case reaches, below what the machine reached in the same run.

use crate::Context;
use crate::benches::Results;
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

const SIZE: (u32, u32) = (960, 640);
const COLORS: [RGBColor; 6] =
    [RED, BLUE, GREEN, MAGENTA, RGBColor(200, 120, 0), RGBColor(0, 140, 140)];

/// A case: operations for each byte, and operations in a second.
struct Point {
    operator: String,
    intensity: f64,
    rate: f64,
}

fn points(results: &Results) -> Vec<Point> {
    let ours = results.cases.iter().filter_map(|case| {
        let ours = case.times.iter().find(|times| times.backend == "expertile")?;
        let seconds = ours.median()? * 1e-3;
        Some(Point {
            operator: case.operator.clone(),
            intensity: case.flops as f64 / case.bytes.max(1) as f64,
            rate: case.flops as f64 / seconds,
        })
    });
    ours.filter(|point| point.intensity > 0.0 && point.rate > 0.0).collect()
}

/// Draws the SVG. Of a simulated device there is nothing to draw, and the picture says so.
pub fn roofline(context: &Context, results: &Results, path: &Path) -> Result<(), String> {
    let drawn = if context.simulated() {
        empty(path, "simulated: no machine was measured")
    } else {
        let points = points(results);
        if points.is_empty() {
            empty(path, "nothing was timed")
        } else {
            draw(context, results, &points, path)
        }
    };
    drawn.map_err(|error| format!("{}: {error}", path.display()))
}

fn empty(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    area.titled(text, ("sans-serif", 24))?;
    area.present()?;
    Ok(())
}

fn draw(
    context: &Context,
    results: &Results,
    points: &[Point],
    path: &Path,
) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let device = context.device.as_ref().map_or("", |device| device.name.as_str());
    let matrix = results.ceilings.iter().filter(|ceiling| ceiling.unit == "FLOP/s");
    let memory = results.ceilings.iter().filter(|ceiling| ceiling.unit == "B/s");
    let roof = matrix.clone().map(|ceiling| ceiling.rate).fold(f64::NAN, f64::max);
    let fold = |start, of: fn(f64, f64) -> f64, value: fn(&Point) -> f64| {
        points.iter().map(value).fold(start, of)
    };
    let x = (
        fold(f64::MAX, f64::min, |point| point.intensity) / 4.0,
        fold(0.0, f64::max, |point| point.intensity).max(1000.0) * 4.0,
    );
    let low = fold(f64::MAX, f64::min, |point| point.rate) / 4.0;
    let high = fold(0.0, f64::max, |point| point.rate).max(if roof.is_nan() { 0.0 } else { roof });
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{device}, {}", context.date), ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d((x.0..x.1).log_scale(), (low..high * 4.0).log_scale())?;
    chart.configure_mesh().x_desc("FLOP / byte").y_desc("FLOP / s").draw()?;
    for (index, ceiling) in memory.enumerate() {
        let color = COLORS[index % COLORS.len()].mix(0.5);
        // Up to where the matrix units end it.
        let end = if roof.is_nan() { x.1 } else { (roof / ceiling.rate).min(x.1) };
        let line = [(x.0, x.0 * ceiling.rate), (end, end * ceiling.rate)];
        let label = format!("{} {:.0} GB/s", ceiling.name, ceiling.rate * 1e-9);
        let series = LineSeries::new(line, color.stroke_width(2));
        chart
            .draw_series(series)?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    for ceiling in matrix {
        let line = [(x.0, ceiling.rate), (x.1, ceiling.rate)];
        let label = format!("{} {:.0} TFLOP/s", ceiling.name, ceiling.rate * 1e-12);
        let series = LineSeries::new(line, BLACK.mix(0.5).stroke_width(2));
        chart.draw_series(series)?.label(label).legend(|(x, y)| {
            PathElement::new([(x, y), (x + 16, y)], BLACK.mix(0.5).stroke_width(2))
        });
    }
    let mut operators: Vec<&str> = points.iter().map(|point| point.operator.as_str()).collect();
    operators.sort_unstable();
    operators.dedup();
    for (index, operator) in operators.into_iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let own = points.iter().filter(|point| point.operator == operator);
        let circles =
            own.map(|point| Circle::new((point.intensity, point.rate), 4, color.filled()));
        chart
            .draw_series(circles)?
            .label(operator)
            .legend(move |(x, y)| Circle::new((x + 8, y), 4, color.filled()));
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benches::Ceiling;
    use crate::record;

    fn svg(simulated: bool, results: &Results) -> String {
        let name = format!("expertile-kit-plot-{}-{simulated}", std::process::id());
        let path = std::env::temp_dir().join(name);
        roofline(&record::tests::context(simulated), results, &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        text
    }

    #[test]
    fn points_and_ceilings_are_drawn() {
        let mut results = record::tests::results();
        let matrix = Ceiling { name: "matmul".into(), unit: "FLOP/s".into(), rate: 8e14 };
        results.ceilings.push(matrix);
        let text = svg(false, &results);
        assert!(text.contains("copy 3000 GB/s") && text.contains("matmul 800 TFLOP/s"));
        // The point and the one of the legend.
        assert_eq!(text.matches("<circle").count(), 2);
    }

    #[test]
    fn nothing_simulated_is_drawn() {
        let text = svg(true, &record::tests::results());
        assert!(text.contains("simulated") && !text.contains("<circle") && !text.contains("GB/s"));
    }
}
