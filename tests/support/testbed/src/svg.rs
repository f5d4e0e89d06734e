//! SVG as text: scales and the few elements that charts need.

use std::fmt::Write;

/// Maps a range of values to a range of coordinates.
#[derive(Clone, Copy)]
pub struct Scale {
    /// The values at the two ends.
    pub values: [f64; 2],
    /// The coordinates of the two ends.
    pub coordinates: [f64; 2],
}

impl Scale {
    /// The coordinate of a value; values beyond an end stay at that end.
    pub fn at(&self, value: f64) -> f64 {
        let [low, high] = self.values;
        let [from, to] = self.coordinates;
        let share = if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 };
        from + share * (to - from)
    }
}

/// The smallest of 1, 1.2, 1.6, 2, 4, 6, 8 and 10 times a power of ten that is not below the value.
pub fn round_up(value: f64) -> f64 {
    if value <= 1.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let factors = [1.0, 1.2, 1.6, 2.0, 4.0, 6.0, 8.0, 10.0];
    factors.iter().map(|factor| factor * power).find(|&candidate| candidate >= value).unwrap_or(value)
}

/// Which point of a text is at its coordinates.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Clone, Copy)]
pub struct Font {
    pub size: f64,
    pub bold: bool,
    pub colour: &'static str,
}

/// An SVG document under construction.
#[derive(Default)]
pub struct Svg {
    elements: String,
}

impl Svg {
    pub fn new() -> Self {
        Self { elements: String::new() }
    }

    fn element(&mut self, element: std::fmt::Arguments) {
        // Writing to a string does not fail.
        let _ = writeln!(self.elements, "  {element}");
    }

    /// A rectangle by its left, top, right and bottom, with more attributes.
    pub fn rectangle(&mut self, [left, top, right, bottom]: [f64; 4], attributes: &str) {
        let (x, y, width, height) = (number(left), number(top), number(right - left), number(bottom - top));
        self.element(format_args!(r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" {attributes}/>"#));
    }

    /// A line from one point to another, with more attributes.
    pub fn line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], attributes: &str) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(number);
        self.element(format_args!(r#"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" {attributes}/>"#));
    }

    /// A diamond around a point.
    pub fn diamond(&mut self, [x, y]: [f64; 2], radius: f64, colour: &str) {
        let (x, top, r) = (number(x), number(y - radius), number(radius));
        self.element(format_args!(r#"<path d="M{x} {top}l{r} {r}l-{r} {r}l-{r} -{r}z" fill="{colour}"/>"#));
    }

    /// Bars without gaps from zero to each value, the first bar from `step * 0` to `step * 1`.
    pub fn bars(&mut self, x: Scale, y: Scale, step: f64, values: &[f64], colour: &str) {
        let mut path = format!("M{} {}", number(x.at(0.0)), number(y.at(0.0)));
        let mut level = y.at(0.0);
        for (index, &value) in values.iter().enumerate() {
            let next = y.at(value);
            if next != level {
                let _ = write!(path, "H{}V{}", number(x.at(step * index as f64)), number(next));
                level = next;
            }
        }
        let _ = write!(path, "H{}V{}z", number(x.at(step * values.len() as f64)), number(y.at(0.0)));
        self.element(format_args!(r#"<path d="{path}" fill="{colour}"/>"#));
    }

    /// A text on one line.
    pub fn text(&mut self, [x, y]: [f64; 2], anchor: Anchor, font: Font, text: &str) {
        let (anchor, font, text) = (anchor_attribute(anchor), font_attributes(font), escaped(text));
        self.element(format_args!(r#"<text x="{}" y="{}"{anchor}{font}>{text}</text>"#, number(x), number(y)));
    }

    /// Two texts of different looks on one line.
    pub fn two_texts(&mut self, [x, y]: [f64; 2], texts: [(Font, &str); 2]) {
        let [first, second] = texts.map(|(font, text)| (font_attributes(font), escaped(text)));
        self.element(format_args!(
            r#"<text x="{}" y="{}"{}>{}<tspan dx="10"{}>{}</tspan></text>"#,
            number(x),
            number(y),
            first.0,
            first.1,
            second.0,
            second.1,
        ));
    }

    /// A text that reads upwards, centred on a point.
    pub fn text_upwards(&mut self, [x, y]: [f64; 2], font: Font, text: &str) {
        let (x, y, font, text) = (number(x), number(y), font_attributes(font), escaped(text));
        self.element(format_args!(
            r#"<text transform="translate({x} {y}) rotate(-90)" text-anchor="middle"{font}>{text}</text>"#
        ));
    }

    /// The document.
    pub fn finish(self, [width, height]: [f64; 2], title: &str, description: &str) -> String {
        let (width, height, elements) = (number(width), number(height), self.elements);
        let (title, description) = (escaped(title), escaped(description));
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif">
  <title>{title}</title>
  <desc>{description}</desc>
{elements}</svg>
"#
        )
    }
}

fn anchor_attribute(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Start => "",
        Anchor::Middle => r#" text-anchor="middle""#,
        Anchor::End => r#" text-anchor="end""#,
    }
}

fn font_attributes(Font { size, bold, colour }: Font) -> String {
    let weight = if bold { r#" font-weight="600""# } else { r#" font-weight="400""# };
    format!(r#" font-size="{}"{weight} fill="{colour}""#, number(size))
}

/// Formats a number with at most one decimal, and without a zero decimal.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0").unwrap_or(&text) {
        "-0" => "0".to_owned(),
        text => text.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_maps_its_ends_and_what_is_between() {
        let x = Scale { values: [0.0, 20.0], coordinates: [100.0, 200.0] };
        assert_eq!([0.0, 5.0, 20.0].map(|value| x.at(value)), [100.0, 125.0, 200.0]);
        // A scale that points upwards, unlike the y axis of a screen.
        let y = Scale { values: [0.0, 4.0], coordinates: [50.0, 10.0] };
        assert_eq!([0.0, 1.0, 4.0].map(|value| y.at(value)), [50.0, 40.0, 10.0]);
        assert_eq!([-1.0, 9.0].map(|value| y.at(value)), [50.0, 10.0]);
        assert_eq!(Scale { values: [3.0, 3.0], coordinates: [7.0, 8.0] }.at(3.0), 7.0);
    }

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, end) in [(0.0, 1.0), (3.0, 4.0), (160.0, 160.0), (170.0, 200.0), (201.0, 400.0), (990.0, 1000.0)] {
            assert_eq!(round_up(value), end, "{value}");
        }
    }

    #[test]
    fn equal_bars_are_one() {
        let x = Scale { values: [0.0, 4.0], coordinates: [0.0, 40.0] };
        let y = Scale { values: [0.0, 10.0], coordinates: [100.0, 0.0] };
        let mut svg = Svg::new();
        svg.bars(x, y, 1.0, &[0.0, 5.0, 5.0, 2.5], "red");
        assert_eq!(svg.elements, "  <path d=\"M0 100H10V50H30V75H40V100z\" fill=\"red\"/>\n");
    }

    #[test]
    fn texts_are_escaped_and_numbers_short() {
        assert_eq!(escaped("a<b> & c"), "a&lt;b&gt; &amp; c");
        assert_eq!([1.0, 1.25, -0.01, 0.96].map(number), ["1", "1.2", "0", "1"]);
    }
}
