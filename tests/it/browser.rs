//! Web pages in a real browser: what a page can do at the gateway, and what it cannot.

mod chromium; // the browser
mod site; // pages of other origins
mod hostile; // what no page may do
mod allowed; // what a listed page can do
mod address_bar; // what a person opens
mod sandbox_page;
mod documented_page; // the page in docs/browsers.md
mod ui_elements; // Box's own
