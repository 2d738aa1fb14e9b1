//! Web pages in a real browser: what pages can and cannot do at the gateway.

mod chromium; // the browser
mod site; // pages of other origins
mod hostile; // attacks by pages
mod allowed; // what a listed page can do
mod address_bar; // URLs that a person opens
mod requests_view; // the last requests, for operators
mod sandbox_page;
mod documented_page; // the page in docs/browsers.md
mod operators_views; // every view of the operators' page
mod ui_elements; // Box UI Elements
mod operators_page; // the page that operators keep open
