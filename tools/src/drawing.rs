//! Pictures: shapes and words on a white ground, written as SVG or as PNG.
//!
//! Owns: [`Drawing`], a list of shapes in the order in which they are drawn; both forms show the same, at the same places.
//! A PNG has two pixels for each unit, so that it is sharp on dense screens; its letters come from a table (Noto Sans Mono),
//! so that no font need be installed, and what the table has not is shown as �. Leaves to others: what is drawn.

use crate::failure::{Failure, Result};
use crate::output::{as_it_was, replace_file};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use tiny_skia::{FillRule, LineCap, Paint, PathBuilder, Pixmap, PremultipliedColorU8, Stroke, Transform};

/// Red, green, blue.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Color(pub u8, pub u8, pub u8);

/// Black.
pub const INK: Color = Color(0x22, 0x22, 0x22);
/// What pictures are drawn on.
pub const GROUND: Color = Color(0xff, 0xff, 0xff);
/// For what is said beside the matter.
pub const GREY: Color = Color(0x77, 0x77, 0x77);

/// How wide a letter is.
pub const LETTER: f32 = 7.0;
/// From a line of text to the next.
pub const LINE: f32 = 18.0;
const FONT_SIZE: f32 = 11.7;
/// Pixels of a PNG for each unit.
const SCALE: f32 = 2.0;

/// On which side of its place a text is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

#[derive(Clone, Debug)]
enum Shape {
    Rect { x: f32, y: f32, width: f32, height: f32, color: Color },
    Lines { points: Vec<(f32, f32)>, width: f32, color: Color },
    Circle { x: f32, y: f32, radius: f32, color: Color },
    Text { x: f32, y: f32, anchor: Anchor, is_bold: bool, color: Color, text: String },
}

/// A picture of this many units.
#[derive(Clone, Debug)]
pub struct Drawing {
    width: f32,
    height: f32,
    shapes: Vec<Shape>,
}

impl Drawing {
    /// Nothing yet.
    pub fn new(width: f32, height: f32) -> Self {
        Drawing { width: width.ceil(), height: height.ceil(), shapes: Vec::new() }
    }

    /// A filled rectangle. What touches the one drawn before, in the same row and colour, makes that one wider.
    pub fn rect(&mut self, (x, y): (f32, f32), (width, height): (f32, f32), color: Color) {
        if let Some(Shape::Rect { x: left, y: top, width: before, height: tall, color: same }) =
            self.shapes.last_mut()
            && (*top, *tall, *same) == (y, height, color)
            && (*left + *before - x).abs() < 1e-3
        {
            *before += width;
            return;
        }
        self.shapes.push(Shape::Rect { x, y, width, height, color });
    }

    /// A line through these points.
    pub fn lines(&mut self, points: Vec<(f32, f32)>, width: f32, color: Color) {
        self.shapes.push(Shape::Lines { points, width, color });
    }

    /// A filled circle with a thin edge of the ground, so that several in one place are seen to be that.
    pub fn circle(&mut self, (x, y): (f32, f32), radius: f32, color: Color) {
        self.shapes.push(Shape::Circle { x, y, radius, color });
    }

    /// A line of text with its baseline at `y`.
    pub fn text(&mut self, (x, y): (f32, f32), anchor: Anchor, color: Color, text: impl Into<String>) {
        self.shapes.push(Shape::Text { x, y, anchor, is_bold: false, color, text: text.into() });
    }

    /// The same in bold letters.
    pub fn title(&mut self, (x, y): (f32, f32), text: impl Into<String>) {
        let text = text.into();
        self.shapes.push(Shape::Text { x, y, anchor: Anchor::Start, is_bold: true, color: INK, text });
    }

    /// Writes the picture, as what the file's name ends with.
    ///
    /// # Errors
    /// `Usage` for a name that ends with neither `.svg` nor `.png`; a problem of the file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = match PictureFormat::of(path)? {
            PictureFormat::Svg => self.svg().into_bytes(),
            PictureFormat::Png => self.png()?,
        };
        replace_file(path, None, |mut file| file.write_all(&bytes).map_err(|error| as_it_was(path, &error)))
    }

    /// As SVG.
    pub fn svg(&self) -> String {
        let Drawing { width, height, .. } = self;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"'Noto Sans Mono','DejaVu Sans Mono',monospace\" \
             font-size=\"{FONT_SIZE}\"><style>rect~rect{{shape-rendering:crispEdges}}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        for shape in &self.shapes {
            shape.svg(&mut svg);
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// As PNG.
    ///
    /// # Errors
    /// A problem, when it has too many pixels.
    pub fn png(&self) -> Result<Vec<u8>> {
        let large = || Failure::problem("the picture is too large for a PNG; take SVG");
        let [width, height] = [self.width, self.height].map(|units| (units * SCALE) as u32);
        let mut pixels = Pixmap::new(width, height).ok_or_else(large)?;
        pixels.fill(tiny_skia::Color::WHITE);
        self.shapes.iter().for_each(|shape| shape.paint(&mut pixels));
        pixels.encode_png().map_err(|_| large())
    }
}

/// How a picture is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PictureFormat {
    /// Scalable.
    Svg,
    /// Pixels.
    Png,
}

impl PictureFormat {
    /// What a file's name says.
    ///
    /// # Errors
    /// `Usage` for a name that ends with neither `.svg` nor `.png`.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        match &extension[..] {
            "svg" => Ok(PictureFormat::Svg),
            "png" => Ok(PictureFormat::Png),
            _ => {
                let wrong = format!("{path:?}: a picture's name ends with .svg or .png");
                Err(Failure::Usage(wrong))
            }
        }
    }
}

impl Shape {
    fn svg(&self, svg: &mut String) {
        // Writing to a string does not fail.
        let _ = match self {
            Shape::Rect { x, y, width, height, color } => {
                let [x, y, width, height] = [*x, *y, *width, *height].map(short);
                let fill = color.hex();
                writeln!(
                    svg,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\"/>"
                )
            }
            Shape::Lines { points, width, color } => {
                let points: Vec<String> =
                    points.iter().map(|(x, y)| format!("{},{}", short(*x), short(*y))).collect();
                let (points, stroke) = (points.join(" "), color.hex());
                writeln!(
                    svg,
                    "<polyline points=\"{points}\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"{width}\"/>"
                )
            }
            Shape::Circle { x, y, radius, color } => {
                let [x, y] = [*x, *y].map(short);
                let fill = color.hex();
                writeln!(
                    svg,
                    "<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" fill=\"{fill}\" stroke=\"#fff\"/>"
                )
            }
            Shape::Text { x, y, anchor, is_bold, color, text } => {
                let anchor = match anchor {
                    Anchor::Start => "",
                    Anchor::Middle => " text-anchor=\"middle\"",
                    Anchor::End => " text-anchor=\"end\"",
                };
                let weight = if *is_bold { " font-weight=\"bold\"" } else { "" };
                let ([x, y], fill, text) = ([*x, *y].map(short), color.hex(), escaped(text));
                writeln!(svg, "<text x=\"{x}\" y=\"{y}\" fill=\"{fill}\"{anchor}{weight}>{text}</text>")
            }
        };
    }

    fn paint(&self, pixels: &mut Pixmap) {
        let scale = Transform::from_scale(SCALE, SCALE);
        match self {
            Shape::Rect { x, y, width, height, color } => {
                if let Some(rect) = tiny_skia::Rect::from_xywh(*x, *y, *width, *height) {
                    pixels.fill_rect(rect, &color.paint(), scale, None);
                }
            }
            Shape::Lines { points, width, color } => {
                let mut path = PathBuilder::new();
                for (i, (x, y)) in points.iter().enumerate() {
                    if i == 0 { path.move_to(*x, *y) } else { path.line_to(*x, *y) }
                }
                let stroke = Stroke { width: *width, line_cap: LineCap::Round, ..Stroke::default() };
                if let Some(path) = path.finish() {
                    pixels.stroke_path(&path, &color.paint(), &stroke, scale, None);
                }
            }
            Shape::Circle { x, y, radius, color } => {
                for (radius, color) in [(radius + 0.5, GROUND), (radius - 0.5, *color)] {
                    if let Some(path) = PathBuilder::from_circle(*x, *y, radius) {
                        pixels.fill_path(&path, &color.paint(), FillRule::Winding, scale, None);
                    }
                }
            }
            Shape::Text { x, y, anchor, is_bold, color, text } => {
                // Of what the table of letters has not, an arrow is common, and can be said otherwise.
                paint_text(pixels, (*x, *y), *anchor, *is_bold, *color, &text.replace('→', "->"));
            }
        }
    }
}

const LETTERS: RasterHeight = RasterHeight::Size32;
/// Where in the box of a letter its baseline is.
const BASELINE: f32 = 25.0;

fn paint_text(
    pixels: &mut Pixmap,
    (x, y): (f32, f32),
    anchor: Anchor,
    is_bold: bool,
    color: Color,
    text: &str,
) {
    let weight = if is_bold { FontWeight::Bold } else { FontWeight::Regular };
    let advance = get_raster_width(weight, LETTERS) as f32;
    let width = advance * text.chars().count() as f32;
    let left = match anchor {
        Anchor::Start => x * SCALE,
        Anchor::Middle => x * SCALE - width / 2.0,
        Anchor::End => x * SCALE - width,
    };
    let top = (y * SCALE - BASELINE).round() as i64;
    for (i, letter) in text.chars().enumerate() {
        let known = |letter| get_raster(letter, weight, LETTERS);
        let Some(raster) = known(letter).or_else(|| known('\u{fffd}')) else { continue };
        let left = (left + advance * i as f32).round() as i64;
        for (row, line) in raster.rows().enumerate() {
            for (column, coverage) in line.iter().enumerate() {
                blend(pixels, (left + column as i64, top + row as i64), color, *coverage);
            }
        }
    }
}

fn blend(pixels: &mut Pixmap, (x, y): (i64, i64), color: Color, coverage: u8) {
    let (width, height) = (i64::from(pixels.width()), i64::from(pixels.height()));
    if coverage == 0 || !(0..width).contains(&x) || !(0..height).contains(&y) {
        return;
    }
    let pixel = &mut pixels.pixels_mut()[(y * width + x) as usize];
    let mix = |below: u8, above: u8| {
        let (below, above, share) = (u32::from(below), u32::from(above), u32::from(coverage));
        ((below * (255 - share) + above * share) / 255) as u8
    };
    let [red, green, blue] =
        [mix(pixel.red(), color.0), mix(pixel.green(), color.1), mix(pixel.blue(), color.2)];
    // The ground is opaque, so no colour is above its alpha.
    *pixel = PremultipliedColorU8::from_rgba(red, green, blue, u8::MAX).unwrap_or(*pixel);
}

impl Color {
    /// As SVG has it.
    fn hex(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }

    fn paint(self) -> Paint<'static> {
        let mut paint = Paint { anti_alias: true, ..Paint::default() };
        paint.set_color_rgba8(self.0, self.1, self.2, u8::MAX);
        paint
    }

    /// Whether black is the colour for words on it.
    pub fn is_light(self) -> bool {
        let Color(red, green, blue) = self;
        299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue) > 140_000
    }

    /// What the eye mixes of colours with these weights; white of none.
    pub fn mixed(parts: impl Iterator<Item = (Color, f64)>) -> Color {
        let (mut sums, mut all) = ([0.0; 3], 0.0);
        for (Color(red, green, blue), weight) in parts {
            let light = [red, green, blue].map(|part| f64::from(part).powf(2.2) * weight);
            sums.iter_mut().zip(light).for_each(|(sum, light)| *sum += light);
            all += weight;
        }
        if all == 0.0 {
            return Color(255, 255, 255);
        }
        let [red, green, blue] = sums.map(|sum| (sum / all).powf(1.0 / 2.2).round() as u8);
        Color(red, green, blue)
    }
}

/// At most two digits behind the point.
fn short(number: f32) -> f32 {
    (number * 100.0).round() / 100.0
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            // XML has no others.
            '\t' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => safe.push(letter),
            _ => safe.push('\u{fffd}'),
        }
    }
    safe
}

/// How colours look, to the colour-blind too.
#[cfg(test)]
pub mod eyes {
    use super::Color;

    /// As CIELAB, of what an eye sees that lacks a kind of cones; by the matrices of Machado, Oliveira, Fernandes 2009.
    fn seen(Color(red, green, blue): Color, eye: [[f64; 3]; 3]) -> [f64; 3] {
        let light = [red, green, blue].map(|part| (f64::from(part) / 255.0).powf(2.2));
        let mix = |row: [f64; 3], light: [f64; 3]| -> f64 { row.iter().zip(light).map(|(a, b)| a * b).sum() };
        let [red, green, blue] = eye.map(|row| mix(row, light).clamp(0.0, 1.0));
        let to_xyz = [[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]];
        let [x, y, z] = to_xyz.map(|row| {
            let part = mix(row, [red, green, blue]);
            if part > 0.008856 { part.cbrt() } else { 7.787 * part + 16.0 / 116.0 }
        });
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    /// About 2 is the least difference that one sees side by side.
    pub fn distance(one: Color, other: Color) -> f64 {
        let eyes = [
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
            [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
            [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
        ];
        let apart = eyes.map(|eye| {
            let pairs = seen(one, eye).into_iter().zip(seen(other, eye));
            pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
        });
        apart.into_iter().fold(f64::INFINITY, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn svg_says_the_shapes_in_their_order() {
        let mut drawing = Drawing::new(40.0, 20.0);
        drawing.rect((1.0, 2.0), (3.0, 4.0), Color(255, 0, 16));
        drawing.rect((4.0, 2.0), (5.0, 4.0), Color(255, 0, 16));
        drawing.text((3.0, 9.0), Anchor::End, INK, "a<b & \u{1}");
        let svg = drawing.svg();
        let shapes: Vec<&str> = svg.lines().skip(2).collect();
        assert_eq!(
            shapes,
            [
                "<rect x=\"1\" y=\"2\" width=\"8\" height=\"4\" fill=\"#ff0010\"/>",
                "<text x=\"3\" y=\"9\" fill=\"#222222\" text-anchor=\"end\">a&lt;b &amp; \u{fffd}</text>",
                "</svg>"
            ]
        );
    }

    #[test]
    fn a_png_has_the_same_at_the_same_places() {
        let mut drawing = Drawing::new(40.0, 20.0);
        drawing.rect((10.0, 5.0), (10.0, 10.0), Color(255, 0, 16));
        drawing.text((25.0, 15.0), Anchor::Start, INK, "M\u{2603}");
        let pixels = Pixmap::decode_png(&drawing.png().unwrap()).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (80, 40));
        let color = |x, y| pixels.pixel(x, y).map(|pixel| (pixel.red(), pixel.green(), pixel.blue()));
        assert_eq!((color(20, 10), color(39, 29)), (Some((255, 0, 16)), Some((255, 0, 16))));
        assert_eq!((color(19, 10), color(40, 29)), (Some((255, 255, 255)), Some((255, 255, 255))));
        // The M, and what stands for a letter that the table has not, end at the baseline.
        let is_dark = |x: u32, y: u32| color(x, y).is_some_and(|color| color.0 < 128);
        for (left, right) in [(50, 64), (64, 78)] {
            assert!((left..right).any(|x| (10..30).any(|y| is_dark(x, y))));
        }
        assert!((50..64).any(|x| is_dark(x, 29)) && (50..64).all(|x| !is_dark(x, 31)));
    }

    #[test]
    fn colors_mix_as_light() {
        let mixed = Color::mixed([(Color(255, 0, 0), 1.0), (Color(0, 0, 255), 1.0)].into_iter());
        assert_eq!((mixed.0, mixed.1, mixed.0 == mixed.2), (186, 0, true));
    }
}
