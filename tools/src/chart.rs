//! Charts: marks in rows, and lines, along logarithmic axes.
//!
//! Owns: how they look, and where an axis has its numbers. Both kinds have a title, a legend, and the unit at the axis.

use crate::drawing::{Anchor, Color, Drawing, GREY, INK, LETTER, LINE};

/// A mark in a row.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Which row, from the top.
    pub row: usize,
    /// Of the series.
    pub series: usize,
    /// Where: above 0.
    pub value: f64,
}

/// What an axis counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Anything: its numbers end with k, M, G.
    Number,
    /// Nanoseconds: its numbers have the unit that fits.
    Nanos,
}

/// What lines are there: each a name, and its points.
pub type Series = (String, Vec<(f64, f64)>);

/// Apart for all eyes; a test measures it.
const COLORS: [Color; 12] = [
    Color(0xc8, 0x1e, 0x1e),
    Color(0x3c, 0x3c, 0x3c),
    Color(0x96, 0x96, 0x96),
    Color(0x00, 0x00, 0xb0),
    Color(0x4d, 0xa2, 0xf8),
    Color(0xf5, 0x75, 0x38),
    Color(0x60, 0xe8, 0x70),
    Color(0x78, 0x35, 0xad),
    Color(0x30, 0x6e, 0x8b),
    Color(0x88, 0x54, 0xfe),
    Color(0xae, 0x84, 0x61),
    Color(0xff, 0xa5, 0x00),
];
const GRID: Color = Color(0xe3, 0xe3, 0xe3);
const TOP: f32 = 50.0;
const PLOT: f32 = 560.0;
const ROW: f32 = 22.0;

fn color(series: usize) -> Color {
    COLORS[series % COLORS.len()]
}

/// A logarithmic axis.
struct Axis {
    low: f64,
    high: f64,
    from: f32,
    to: f32,
}

impl Axis {
    /// One that has all of these, which are above 0; `None` where there are none.
    fn of(values: impl Iterator<Item = f64> + Clone, from: f32, to: f32) -> Option<Axis> {
        let low = values.clone().min_by(f64::total_cmp)?;
        let high = values.max_by(f64::total_cmp)?;
        Some(Axis { low: low / 1.3, high: high * 1.3, from, to })
    }

    fn at(&self, value: f64) -> f32 {
        let share = (value / self.low).ln() / (self.high / self.low).ln();
        self.from + (self.to - self.from) * share as f32
    }

    /// Round numbers along it, not too many.
    fn ticks(&self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let steps: &[f64] = match decades {
            ..1.5 => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
            ..3.0 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let first = self.low.log10().floor() as i32;
        let powers = (first..=self.high.log10().ceil() as i32).map(|power| 10f64.powi(power));
        let every = (decades / 9.0).ceil().max(1.0) as usize;
        let all = powers.step_by(every).flat_map(|power| steps.iter().map(move |step| step * power));
        all.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }
}

/// Rows from the top down, marks along an axis, and a line where the axis is 1, if it is there. `None`: no marks.
pub fn rows(
    title: &str,
    names: &[String],
    (axis, unit): (&str, Unit),
    series: &[String],
    marks: &[Mark],
) -> Option<Drawing> {
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let left = 30.0 + LETTER * widest as f32;
    let values = marks.iter().map(|mark| mark.value).filter(|value| *value > 0.0);
    let x = Axis::of(values, left, left + PLOT)?;
    let there: Vec<usize> =
        (0..series.len()).filter(|i| marks.iter().any(|mark| mark.series == *i)).collect();
    let bottom = TOP + ROW * names.len() as f32;
    let height = (bottom + 3.0 * LINE).max(TOP + LINE * (there.len() as f32 + 1.0));
    let mut drawing = Drawing::new(left + PLOT + legend_width(series), height);
    drawing.title((15.0, 28.0), title);
    for (row, name) in names.iter().enumerate() {
        let y = TOP + ROW * (row as f32 + 0.5);
        drawing.text((left - 10.0, y + 4.0), Anchor::End, INK, name.clone());
        drawing.lines(vec![(left, y), (left + PLOT, y)], 1.0, GRID);
    }
    for tick in x.ticks() {
        let at = x.at(tick);
        let ink = if tick == 1.0 { INK } else { GRID };
        drawing.lines(vec![(at, TOP), (at, bottom)], 1.0, ink);
        drawing.text((at, bottom + 16.0), Anchor::Middle, INK, shown(tick, unit));
    }
    drawing.text((left + PLOT / 2.0, bottom + 36.0), Anchor::Middle, GREY, axis);
    // The first is what it is about, and larger; so it lies below, and hides none.
    for series in &there {
        let size = if *series == 0 { 6.0 } else { 4.0 };
        for mark in marks.iter().filter(|mark| mark.series == *series && mark.value > 0.0) {
            let y = TOP + ROW * (mark.row as f32 + 0.5);
            drawing.circle((x.at(mark.value), y), size, color(*series));
        }
    }
    legend(&mut drawing, left + PLOT, series, &there);
    Some(drawing)
}

/// Lines over an axis. `None`: no points.
pub fn lines(title: &str, across: &str, (up, unit): (&str, Unit), series: &[Series]) -> Option<Drawing> {
    let (left, height) = (90.0, 400.0);
    let points = || series.iter().flat_map(|(_, points)| points.iter());
    let x = Axis::of(points().map(|point| point.0).filter(|x| *x > 0.0), left, left + PLOT)?;
    let y = Axis::of(points().map(|point| point.1).filter(|y| *y > 0.0), TOP + height, TOP)?;
    let names: Vec<String> = series.iter().map(|(name, _)| name.clone()).collect();
    let mut drawing = Drawing::new(left + PLOT + legend_width(&names), TOP + height + 3.0 * LINE);
    drawing.title((15.0, 28.0), title);
    for tick in x.ticks() {
        drawing.lines(vec![(x.at(tick), TOP), (x.at(tick), TOP + height)], 1.0, GRID);
        drawing.text((x.at(tick), TOP + height + 16.0), Anchor::Middle, INK, shown(tick, Unit::Number));
    }
    for tick in y.ticks() {
        drawing.lines(vec![(left, y.at(tick)), (left + PLOT, y.at(tick))], 1.0, GRID);
        drawing.text((left - 8.0, y.at(tick) + 4.0), Anchor::End, INK, shown(tick, unit));
    }
    drawing.text((left + PLOT / 2.0, TOP + height + 36.0), Anchor::Middle, GREY, across);
    drawing.text((left - 8.0, TOP - 6.0), Anchor::End, GREY, up);
    let there: Vec<usize> = (0..series.len()).filter(|i| !series[*i].1.is_empty()).collect();
    for series_at in there.iter().rev() {
        let positive = series[*series_at].1.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0);
        let points: Vec<(f32, f32)> = positive.map(|point| (x.at(point.0), y.at(point.1))).collect();
        for point in &points {
            drawing.circle(*point, 3.5, color(*series_at));
        }
        drawing.lines(points, 2.0, color(*series_at));
    }
    legend(&mut drawing, left + PLOT, &names, &there);
    Some(drawing)
}

fn legend_width(names: &[String]) -> f32 {
    60.0 + LETTER * names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as f32
}

fn legend(drawing: &mut Drawing, x: f32, series: &[String], there: &[usize]) {
    for (i, at) in there.iter().enumerate() {
        let y = TOP + 10.0 + LINE * i as f32;
        drawing.circle((x + 24.0, y), 5.0, color(*at));
        drawing.text((x + 38.0, y + 4.0), Anchor::Start, INK, series[*at].clone());
    }
}

/// A number of an axis.
fn shown(value: f64, unit: Unit) -> String {
    let names = match unit {
        Unit::Number => ["", " k", " M", " G"],
        Unit::Nanos => [" ns", " µs", " ms", " s"],
    };
    let (value, unit) = match value {
        1e9.. => (value / 1e9, names[3]),
        1e6.. => (value / 1e6, names[2]),
        1e3.. => (value / 1e3, names[1]),
        _ => (value, names[0]),
    };
    format!("{}{unit}", (value * 1e6).round() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawing::GROUND;
    use crate::drawing::eyes::distance;

    #[test]
    fn colours_are_apart_for_the_colour_blind_too() {
        for (i, one) in COLORS.iter().enumerate() {
            for other in COLORS[i + 1..].iter().chain([&GROUND]) {
                let apart = distance(*one, *other);
                assert!(apart >= 18.0, "{one:?} and {other:?} are {apart:.1} apart");
            }
        }
    }

    #[test]
    fn an_axis_has_a_few_round_numbers() {
        let ticks = |low: f64, high: f64| {
            let axis = Axis::of([low, high].into_iter(), 0.0, 100.0).unwrap();
            axis.ticks().into_iter().map(|tick| shown(tick, Unit::Number)).collect::<Vec<_>>()
        };
        assert_eq!(ticks(0.9, 4.0), ["0.7", "1", "1.5", "2", "3", "5"]);
        assert_eq!(ticks(0.02, 3.0), ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]);
        assert_eq!(ticks(150.0, 2e6), ["1 k", "10 k", "100 k", "1 M"]);
        assert_eq!(
            [20.0, 1e3, 5e5, 2e7, 3e9].map(|nanos| shown(nanos, Unit::Nanos)),
            ["20 ns", "1 µs", "500 µs", "20 ms", "3 s"]
        );
        for high in [1.0, 10.0, 1e5, 1e30, 1e300] {
            assert!((1..=12).contains(&ticks(1.0, high).len()), "{:?}", ticks(1.0, high));
        }
    }

    #[test]
    fn places_along_an_axis_follow_the_logarithm() {
        let axis = Axis::of([1.3, 100.0 / 1.3].into_iter(), 10.0, 210.0).unwrap();
        assert_eq!([1.0, 10.0, 100.0].map(|value| axis.at(value).round()), [10.0, 110.0, 210.0]);
    }

    #[test]
    fn what_is_not_above_nothing_has_no_place() {
        let mark = |value| Mark { row: 0, series: 0, value };
        assert!(rows("", &["a".into()], ("", Unit::Number), &["s".into()], &[mark(0.0)]).is_none());
        let svg = rows("", &["a".into()], ("", Unit::Number), &["s".into()], &[mark(0.0), mark(2.0)])
            .unwrap()
            .svg();
        assert_eq!(svg.matches("<circle").count(), 2, "one mark, one in the legend: {svg}");
        assert!(lines("", "x", ("y", Unit::Nanos), &[("s".into(), Vec::new())]).is_none());
    }
}
