use super::*;

fn columns(names: &[&str]) -> Vec<Column> {
    names.iter().map(|name| Column { name: (*name).to_owned(), ..Column::default() }).collect()
}

fn chart<'c>(shape: Shape, unit: Unit, columns: &'c [Column], series: &'c [Series]) -> Chart<'c> {
    Chart {
        id: "c",
        title: "Requests",
        when: "last hour, UTC",
        column: "Time (UTC)",
        shape,
        unit,
        columns,
        series,
    }
}

/// The texts between these marks, in order.
fn between<'t>(text: &'t str, start: &str, end: &str) -> Vec<&'t str> {
    text.split(start).skip(1).map(|rest| rest.split(end).next().unwrap()).collect()
}

#[test]
fn numbers_are_in_the_drawing_its_tooltips_its_summary_and_the_table() {
    let mut columns = columns(&["10:00", "10:05", "10:10"]);
    columns[0].tick = Some("10:00".to_owned());
    columns[2].partial = Some("so far");
    let series = [
        Series::counts("ok", "s1", [Some(1_200), Some(0), Some(7)]),
        Series::counts("5xx", "s2", [Some(34), Some(0), None]),
    ];
    let html = chart(Shape::StackedBars, Unit::Count, &columns, &series).markup().into_string();
    let told = between(&html, "<title>", "</title>");
    assert_eq!(
        told,
        ["10:00\nall: 1,234\nok: 1,200\n5xx: 34", "10:05\nall: 0", "10:10 (so far)\nall: 7\nok: 7"]
    );
    assert_eq!(
        between(&html, "role=\"img\" aria-label=\"", "\""),
        [
            "Requests, last hour, UTC: 1,241 in all, the most 1,234 at 10:00. The numbers are in the table below."
        ]
    );
    let cells = between(&html, "<td class=\"n\">", "</td>");
    assert_eq!(cells, ["1,200", "34", "0", "0", "7", "–"]);
    assert!(html.contains("<th scope=\"row\">10:10 (so far)</th>"), "{html}");
    assert!(
        html.contains("<path class=\"partial s1\" d=\"M2.12 ")
            || html.contains("<path class=\"s1 partial\" d=\"M2.12 "),
        "{html}"
    );
    assert_eq!(between(&html, "<li>", "</li>").len(), 2);
    assert!(html.contains(">10:00</text>"), "{html}");
}

#[test]
fn what_is_unknown_is_a_gap_and_a_zero_is_a_zero() {
    let mut columns = columns(&["1", "2", "3"]);
    let series = [Series { name: "p95".into(), class: "p95", values: vec![None, Some(0.0), Some(f64::NAN)] }];
    let html = chart(Shape::Lines, Unit::Millis, &columns, &series).markup().into_string();
    assert_eq!(
        between(&html, "<title>", "</title>"),
        ["1\nnothing to measure", "2\np95: 0 ms", "3\nnothing to measure"]
    );
    // Only what is known is in the table.
    assert_eq!(between(&html, "<td class=\"n\">", "</td>"), ["0 ms"]);
    assert!(!html.contains("not-counted"), "{html}");
    let bars = [Series::counts("ok", "s1", [None, Some(0), None])];
    (columns[0].missing, columns[2].missing) = (Missing::NotCounted, Missing::ToCome);
    let html = chart(Shape::StackedBars, Unit::Count, &columns, &bars).markup().into_string();
    assert_eq!(between(&html, "<title>", "</title>"), ["1\nnot counted", "2\nok: 0", "3\nto come"]);
    // In the legend and in the drawing.
    assert_eq!(html.matches("class=\"not-counted\"").count(), 2);
    assert!(html.contains("class=\"not-counted\" x=\"0\" width=\"1\""), "{html}");
}

#[test]
fn no_extreme_makes_a_number_that_cannot_be_drawn() {
    for (length, value) in [(0, 0.0), (1, 0.0), (1, 1.0), (3, 1e9), (288, 1e18), (12, f64::INFINITY)] {
        let names: Vec<String> = (0..length).map(|nth| nth.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let columns = columns(&names);
        for shape in [Shape::StackedBars, Shape::Lines] {
            let series = [
                Series { name: "a".into(), class: "s1", values: vec![Some(value); length] },
                Series { name: "b".into(), class: "s2", values: vec![None; length] },
            ];
            let html = chart(shape, Unit::Count, &columns, &series).markup().into_string();
            assert!(!html.contains("NaN") && !html.contains("inf"), "{length} {value}: {html}");
        }
    }
}

#[test]
fn names_are_text_and_there_is_no_style_of_its_own() {
    let columns = columns(&["<b>\"1\"</b>"]);
    let series = [Series::counts("<script>", "s1", [Some(1)])];
    let html = chart(Shape::StackedBars, Unit::Count, &columns, &series).markup().into_string();
    assert!(!html.contains("<script>") && !html.contains("<b>") && !html.contains("style="), "{html}");
}

#[test]
fn a_day_of_five_series_stays_small() {
    let names: Vec<String> = (0..288).map(|nth| format!("{:02}:{:02}", nth / 12, nth % 12 * 5)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let columns = columns(&names);
    let series: Vec<Series> =
        (0..5).map(|nth| Series::counts(format!("series {nth}"), "s1", vec![Some(123_456); 288])).collect();
    let html = chart(Shape::StackedBars, Unit::Count, &columns, &series).markup().into_string();
    assert!(html.len() < 250_000, "{}", html.len());
}
