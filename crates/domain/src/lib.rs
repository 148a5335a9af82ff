//! Rules, money and schedule: the catalog, admission, prices, candidates and limits. Pure.
