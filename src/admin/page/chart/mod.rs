//! Charts: stacked bars and lines over time, with the same numbers as a table, and small ones without.
//!
//! They are SVG without styles of its own, which the page's policy forbids: colours are classes, and sizes that follow the
//! width of the page are percentages or a stretched `viewBox`. Text is never inside what is stretched.

mod plot; // what is drawn of a series
mod scale; // round numbers for the axis
mod sparkline; // a small one for a row of a table

use maud::{Markup, html};

use self::plot::HEIGHT;
use self::scale::Scale;
pub(super) use self::scale::Unit;
pub(super) use self::sparkline::sparkline;

/// The height of the drawing in CSS pixels, without the labels below.
const PIXELS: u32 = 160;
/// The height of the labels below.
const LABELS: u32 = 22;
/// The distance of the upper line from the top, so that its label is not cut off.
const ABOVE: u32 = 8;

/// How the values of a series are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// On top of the series before it.
    StackedBars,
    /// A line for each series.
    Lines,
}

/// A chart over time. Every series has a value for each column.
#[derive(Debug)]
pub(super) struct Chart<'c> {
    /// For the ids of its elements; unique in the page.
    pub id: &'c str,
    /// What is counted.
    pub title: &'c str,
    /// In which stretch of time, and in which zone.
    pub when: &'c str,
    /// What the columns are, above the table: `Time (UTC)`.
    pub column: &'static str,
    pub shape: Shape,
    pub unit: Unit,
    pub columns: &'c [Column],
    pub series: &'c [Series],
}

/// A stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Column {
    /// As tables and tooltips have it: `10:05`.
    pub name: String,
    /// Below the chart, at its beginning; `None`: nothing.
    pub tick: Option<String>,
    /// It was not counted from its beginning to its end: why, such as `so far`.
    pub partial: Option<&'static str>,
    /// Why it has no values, if it has none.
    pub missing: Missing,
}

/// Why there are no values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Missing {
    /// There was nothing to measure.
    #[default]
    Nothing,
    /// Nobody counted then. It is not the same as zero, and marked in the drawing.
    NotCounted,
    /// It has not begun.
    ToCome,
}

impl Missing {
    fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing to measure",
            Self::NotCounted => "not counted",
            Self::ToCome => "to come",
        }
    }
}

/// The values of one kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// In the legend and the table.
    pub name: String,
    /// Its colour and pattern: a class of the style sheet.
    pub class: &'static str,
    /// `None`: unknown, or there was nothing to measure, which is drawn as a gap; 0 is drawn as 0.
    pub values: Vec<Option<f64>>,
}

impl Series {
    /// A series of whole numbers.
    pub(super) fn counts(
        name: impl Into<String>,
        class: &'static str,
        counts: impl IntoIterator<Item = Option<u64>>,
    ) -> Self {
        let values = counts.into_iter().map(|count| count.map(|count| count as f64)).collect();
        Self { name: name.into(), class, values }
    }

    fn sum(&self) -> f64 {
        self.values.iter().flatten().sum()
    }
}

impl Chart<'_> {
    /// The drawing, its legend, and its numbers as a table.
    pub(super) fn markup(&self) -> Markup {
        let scale = Scale::up_to(self.largest(), self.unit);
        let kind = match self.shape {
            Shape::StackedBars => "as-bars",
            Shape::Lines => "as-lines",
        };
        let height = PIXELS + ABOVE + LABELS;
        html! {
            figure.chart id=(self.id) {
                figcaption {
                    span.chart-title { (self.title) }
                    " " span.chart-when { (self.when) }
                }
                ul.legend.(kind) {
                    @for series in self.series {
                        li {
                            svg.swatch width="18" height="12" viewBox="0 0 18 12" aria-hidden="true" {
                                @match self.shape {
                                    Shape::StackedBars => rect.(series.class) x="3" width="12" height="12" {},
                                    Shape::Lines => path.(series.class) d="M0 6H18" {},
                                }
                            }
                            (series.name)
                            @if self.shape == Shape::StackedBars {
                                " " span.legend-sum { (self.unit.exact(series.sum())) }
                            }
                        }
                    }
                    @if self.columns.iter().any(|column| column.missing == Missing::NotCounted) {
                        li {
                            svg.swatch width="18" height="12" viewBox="0 0 18 12" aria-hidden="true" {
                                rect.not-counted x="3" width="12" height="12" {}
                            }
                            "not counted"
                        }
                    }
                }
                div.chart-area {
                    svg.chart-axis width="52" height=(height) aria-hidden="true" {
                        @for line in scale.lines() {
                            text x="46" y=(pixel(line, &scale) + 4.0) { (self.unit.short(line)) }
                        }
                    }
                    svg.chart-plot.(kind) width="100%" height=(height) role="img" aria-label=(self.summary()) {
                        @for line in scale.lines() {
                            line.grid x1="0" x2="100%" y1=(pixel(line, &scale)) y2=(pixel(line, &scale)) {}
                        }
                        (self.ticks(height))
                        svg y=(ABOVE) width="100%" height=(PIXELS) preserveAspectRatio="none"
                            viewBox=(format!("0 0 {} {HEIGHT}", self.columns.len().max(1))) {
                            (self.not_counted())
                            (self.shapes(&scale))
                            (self.hits())
                        }
                    }
                }
                (self.table())
            }
        }
    }

    /// The largest value, or sum where values are on top of each other.
    fn largest(&self) -> f64 {
        let at = |index: usize| {
            let values = self.series.iter().filter_map(move |series| known(series.values.get(index)));
            match self.shape {
                Shape::StackedBars => values.sum::<f64>(),
                Shape::Lines => values.fold(0.0, f64::max),
            }
        };
        (0..self.columns.len()).map(at).fold(0.0, f64::max)
    }

    fn shapes(&self, scale: &Scale) -> Markup {
        let values: Vec<&[Option<f64>]> = self.series.iter().map(|series| &*series.values).collect();
        match self.shape {
            Shape::StackedBars => {
                let partial: Vec<bool> = self.columns.iter().map(|column| column.partial.is_some()).collect();
                let bars = plot::stacked_bars(&values, &partial, scale.top());
                html! {
                    @for (series, bars) in self.series.iter().zip(bars) {
                        @if !bars.whole.is_empty() { path.(series.class) d=(bars.whole) {} }
                        @if !bars.partial.is_empty() { path.partial.(series.class) d=(bars.partial) {} }
                    }
                }
            }
            Shape::Lines => html! {
                // The first series is drawn last, above the others.
                @for series in self.series.iter().rev() {
                    path.(series.class) d=(plot::line(&series.values, scale.top())) {}
                }
            },
        }
    }

    /// Marks the stretches in which nobody counted.
    fn not_counted(&self) -> Markup {
        let missing: Vec<bool> =
            self.columns.iter().map(|column| column.missing == Missing::NotCounted).collect();
        html! {
            @for stretch in plot::stretches(&missing) {
                rect.not-counted x=(stretch.start) width=(stretch.len()) height=(HEIGHT) {}
            }
        }
    }

    /// What the pointer hits: the numbers of each column.
    fn hits(&self) -> Markup {
        html! {
            g.hits {
                @for (index, column) in self.columns.iter().enumerate() {
                    rect x=(index) width="1" height=(HEIGHT) { title { (self.told(index, column)) } }
                }
            }
        }
    }

    /// The numbers of a column, one in a line.
    fn told(&self, index: usize, column: &Column) -> String {
        let mut text = column.name.clone();
        if let Some(why) = column.partial {
            text.push_str(&format!(" ({why})"));
        }
        let values = self.series.iter().map(|series| (series, known(series.values.get(index))));
        let values: Vec<(&Series, Option<f64>)> = values.collect();
        if values.iter().all(|(_, value)| value.is_none()) {
            text.push_str(&format!("\n{}", column.missing.words()));
            return text;
        }
        if self.shape == Shape::StackedBars && self.series.len() > 1 {
            let sum: f64 = values.iter().filter_map(|(_, value)| *value).sum();
            text.push_str(&format!("\nall: {}", self.unit.exact(sum)));
        }
        for (series, value) in values {
            // Of many kinds, those that did not occur are left out.
            if let Some(value) = value
                && (value > 0.0 || self.series.len() == 1)
            {
                text.push_str(&format!("\n{}: {}", series.name, self.unit.exact(value)));
            }
        }
        text
    }

    fn ticks(&self, height: u32) -> Markup {
        let ticks = self.columns.iter().enumerate();
        let ticks = ticks.filter_map(|(index, column)| Some((index, column.tick.as_deref()?)));
        html! {
            @for (index, tick) in ticks {
                @let x = index as f64 * 100.0 / self.columns.len() as f64;
                @let x = format!("{x:.2}%");
                line.tick x1=(x) x2=(x) y1=(ABOVE + PIXELS) y2=(ABOVE + PIXELS + 4) {}
                text.tick x=(x) y=(height - 5) { (tick) }
            }
        }
    }

    /// In one sentence, for screen readers.
    fn summary(&self) -> String {
        let mut text = format!("{}, {}", self.title, self.when);
        let name = |index: usize| self.columns.get(index).map(|column| &*column.name).unwrap_or_default();
        match self.shape {
            Shape::StackedBars => {
                let sums = (0..self.columns.len()).map(|index| {
                    self.series.iter().filter_map(|series| known(series.values.get(index))).sum::<f64>()
                });
                let most = sums.enumerate().fold(
                    (0, 0.0),
                    |most, (index, sum)| {
                        if sum > most.1 { (index, sum) } else { most }
                    },
                );
                let all: f64 = self.series.iter().map(Series::sum).sum();
                text.push_str(&format!(": {} in all", self.unit.exact(all)));
                if most.1 > 0.0 {
                    text.push_str(&format!(", the most {} at {}", self.unit.exact(most.1), name(most.0)));
                }
            }
            Shape::Lines => {
                let mut is_any = false;
                for series in self.series {
                    let values = series.values.iter().enumerate();
                    let values = values.filter_map(|(index, value)| Some((index, known(Some(value))?)));
                    let most = values.fold(None, |most: Option<(usize, f64)>, (index, value)| match most {
                        Some(most) if most.1 >= value => Some(most),
                        _ => Some((index, value)),
                    });
                    if let Some((index, value)) = most {
                        let at = name(index);
                        text.push_str(&format!(
                            "; {} at most {} at {at}",
                            series.name,
                            self.unit.exact(value)
                        ));
                        is_any = true;
                    }
                }
                if !is_any {
                    text.push_str(": nothing was measured");
                }
            }
        }
        text.push_str(". The numbers are in the table below.");
        text
    }

    /// The numbers as a table: columns of the chart with a value, one in a row.
    fn table(&self) -> Markup {
        let has_value =
            |index: usize| self.series.iter().any(|series| known(series.values.get(index)).is_some());
        let rows: Vec<(usize, &Column)> =
            self.columns.iter().enumerate().filter(|(index, _)| has_value(*index)).collect();
        html! {
            details.numbers id=(format!("{}-numbers", self.id)) {
                summary { "Numbers as a table" }
                @if rows.is_empty() {
                    p { "There are none." }
                } @else {
                    div.scroll tabindex="0" role="region" aria-label=(format!("{} as a table", self.title)) {
                        table {
                            caption { (self.title) ", " (self.when) }
                            thead {
                                tr {
                                    th scope="col" { (self.column) }
                                    @for series in self.series { th.n scope="col" { (series.name) } }
                                }
                            }
                            tbody {
                                @for (index, column) in rows {
                                    tr {
                                        th scope="row" {
                                            (column.name)
                                            @if let Some(why) = column.partial { " (" (why) ")" }
                                        }
                                        @for series in self.series {
                                            td.n {
                                                @match known(series.values.get(index)) {
                                                    Some(value) => (self.unit.exact(value)),
                                                    None => "–",
                                                }
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A value that can be drawn.
fn known(value: Option<&Option<f64>>) -> Option<f64> {
    value.copied().flatten().filter(|value| value.is_finite() && *value >= 0.0)
}

/// The distance of a value's line from the top, in CSS pixels.
fn pixel(value: f64, scale: &Scale) -> f64 {
    let from_top = (1.0 - value / scale.top()) * f64::from(PIXELS);
    (f64::from(ABOVE) + from_top).round()
}

#[cfg(test)]
mod tests;
