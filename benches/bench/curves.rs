//! Draws docs/performance.svg from the tables that were measured last.

use std::fs;

use jwks_gate_testbed::{
    svg::{Anchor, Font, Scale, Svg},
    workspace_root,
};
use serde_json::Value;

const TABLES: [&str; 3] = ["requests", "algorithms", "scale"];

const WIDTH: f64 = 880.0;
const LEFT: f64 = 430.0;
const RIGHT: f64 = WIDTH - 110.0;
const ROW: f64 = 26.0;
const HEADING_HEIGHT: f64 = 46.0;

const HEADING: Font = Font { size: 15.0, bold: true, colour: "#1f2328" };
const BODY: Font = Font { size: 13.0, bold: false, colour: "#1f2328" };
const SMALL: Font = Font { size: 12.0, bold: false, colour: "#59636e" };
const GRID: &str = "#d8dee4";
const GOAL: &str = "#0550ae";
const DOT: &str = "#32383f";

pub fn draw() {
    let read = |name| fs::read_to_string(workspace_root().join(format!("target/bench/{name}.json"))).ok();
    let tables: Option<Vec<String>> = TABLES.into_iter().map(read).collect();
    let Some(tables) = tables else {
        println!("\nNo picture: {} must be measured first.", TABLES.join(", "));
        return;
    };
    let mut svg = Svg::new();
    let mut y = 10.0;
    // A background, so that the page may be light or dark.
    let tables: Vec<Value> = tables.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let rows = |table: &Value| table["rows"].as_array().unwrap().len() as f64;
    let height = 60.0 + tables.iter().map(|table| HEADING_HEIGHT + ROW * rows(table) + 14.0).sum::<f64>();
    svg.rectangle([0.5, 0.5, WIDTH - 0.5, height - 0.5], r##"rx="8" fill="#ffffff" stroke="#d0d7de""##);
    for table in &tables {
        y = panel(&mut svg, table, y);
    }
    svg.text(
        [24.0, y + 24.0],
        Anchor::Start,
        SMALL,
        "Dots: medians. Lines: the bounds of the median, with 95 % confidence. Diamonds: goals.",
    );
    let text = svg.finish([WIDTH, height], "CPU per request", "Ratios with their bounds and goals, as in the tables.");
    fs::write(workspace_root().join("docs/performance.svg"), text).unwrap();
    println!("\nThe picture is in docs/performance.svg.");
}

/// Draws a table below `y`. Returns its lower end.
fn panel(svg: &mut Svg, table: &Value, y: f64) -> f64 {
    let rows = table["rows"].as_array().unwrap();
    let of = |row: &Value, bound: &str| row["ratio"][bound].as_f64().unwrap();
    let most = rows.iter().map(|row| of(row, "high").max(row["goal"].as_f64().unwrap_or(0.0))).fold(1.0, f64::max);
    let x = Scale { values: [0.0, most], coordinates: [LEFT, RIGHT] };
    svg.text([24.0, y + 28.0], Anchor::Start, HEADING, table["title"].as_str().unwrap());
    let (top, bottom) = (y + HEADING_HEIGHT, y + HEADING_HEIGHT + ROW * rows.len() as f64);
    for tenth in (0..).step_by(if most > 2.0 { 5 } else { 2 }).map(f64::from).take_while(|tenth| tenth / 10.0 <= most) {
        let at = x.at(tenth / 10.0);
        svg.line([at, top - 6.0], [at, bottom], &format!(r#"stroke="{GRID}""#));
        svg.text([at, bottom + 12.0], Anchor::Middle, SMALL, &format!("{:.1}", tenth / 10.0));
    }
    for (number, row) in rows.iter().enumerate() {
        let middle = top + ROW * (number as f64 + 0.5);
        let name = row["name"].as_str().unwrap().replace('`', "");
        svg.text([LEFT - 12.0, middle + 4.0], Anchor::End, BODY, &name);
        svg.line(
            [x.at(of(row, "low")), middle],
            [x.at(of(row, "high")), middle],
            &format!(r#"stroke="{DOT}" stroke-width="2""#),
        );
        let dot = x.at(of(row, "median"));
        svg.rectangle([dot - 4.0, middle - 4.0, dot + 4.0, middle + 4.0], &format!(r#"rx="4" fill="{DOT}""#));
        if let Some(goal) = row["goal"].as_f64() {
            svg.diamond([x.at(goal), middle], 5.0, GOAL);
        }
        svg.text([RIGHT + 12.0, middle + 4.0], Anchor::Start, BODY, &format!("{:.2}", of(row, "median")));
    }
    bottom + 14.0
}
