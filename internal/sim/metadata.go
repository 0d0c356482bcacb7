package sim

import "net/http"

// endpoints is the cloud's own description, as real Resource Manager gives it in three forms (azure-protocol.md section 3,
// azure-image-builder.md 8.2): names of 2015-01-01 and 2018-01-01 for `az cloud register`, a list of clouds from 2019-05-01
// on, one cloud from 2022-09-01 on. The sign-in address of the first two ends in /adfs, because az then asks no directory of
// the real cloud whether it knows this one.
func (w *Azure) endpoints(r *http.Request) *reply {
	base := baseOf(r)
	authentication := map[string]any{"loginEndpoint": base, "audiences": []any{base + "/", base}, "tenant": "common", "identityProvider": "AAD"}
	version := r.URL.Query().Get("api-version")
	switch {
	case version == "":
		return failed(refuse(400, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests."))
	case version < "2019-05-01":
		authentication["loginEndpoint"] = base + "/adfs"
		old := map[string]any{"galleryEndpoint": base + "/", "graphEndpoint": base + "/graph/", "portalEndpoint": base + "/", "authentication": authentication}
		if version >= "2018-01-01" {
			old["graphAudience"] = base + "/graph/"
			old["cloudEndpoint"] = map[string]any{}
		} else {
			delete(authentication, "tenant")
			delete(authentication, "identityProvider")
		}
		return &reply{status: 200, body: old}
	}
	port := w.port()
	one := map[string]any{"name": "AzureSim", "portal": base, "authentication": authentication, "media": base, "graphAudience": base + "/graph/", "graph": base + "/graph/",
		"suffixes": map[string]any{"storage": "storage.localhost" + port, "keyVaultDns": "vault.localhost" + port, "acrLoginServer": "azurecr.localhost" + port,
			"azureDataLakeStoreFileSystem": "azuredatalakestore.localhost" + port, "azureDataLakeAnalyticsCatalogAndJob": "azuredatalakeanalytics.localhost" + port,
			"sqlServerHostname": "database.localhost" + port, "azureFrontDoorEndpointSuffix": "azurefd.localhost" + port},
		"batch": base + "/", "resourceManager": base + "/", "vmImageAliasDoc": base + "/aliases.json", "activeDirectoryDataLake": base + "/", "sqlManagement": base + "/", "gallery": base + "/"}
	// Clients of both forms read this one, so the list has it too.
	one["microsoftGraphResourceId"] = base + "/graph/"
	if version < "2022-09-01" {
		return &reply{status: 200, body: []any{one}}
	}
	for _, key := range []string{"storageSyncEndpointSuffix", "mhsmDns", "mysqlServerEndpoint", "postgresqlServerEndpoint", "mariadbServerEndpoint", "synapseAnalytics", "attestationEndpoint"} {
		mapping(one, "suffixes")[key] = map[string]string{"storageSyncEndpointSuffix": "afs", "mhsmDns": "managedhsm", "mysqlServerEndpoint": "mysql", "postgresqlServerEndpoint": "postgres",
			"mariadbServerEndpoint": "mariadb", "synapseAnalytics": "synapse", "attestationEndpoint": "attest"}[key] + ".localhost" + port
	}
	for _, key := range []string{"appInsightsResourceId", "appInsightsTelemetryChannelResourceId", "attestationResourceId", "synapseAnalyticsResourceId", "logAnalyticsResourceId", "ossrDbmsResourceId"} {
		one[key] = base
	}
	return &reply{status: 200, body: one}
}
