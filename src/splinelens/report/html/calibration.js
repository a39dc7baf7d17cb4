// The plots of the maps need nothing beyond what all pages share.
Page.start({});
